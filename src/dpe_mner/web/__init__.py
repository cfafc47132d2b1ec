"""A model as a service: the REST interface, and the web page that uses it. Needs the extra ``serve``."""
