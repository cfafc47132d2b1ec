"""``python -m dpe_mner``."""

from dpe_mner.commands.main import main

if __name__ == "__main__":
    main()
