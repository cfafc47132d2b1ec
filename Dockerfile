# The REST service and its page, on a CPU, without PyTorch. Build the wheel first:
#   python -m build && docker build -t dpe-mner . && docker run --rm -p 127.0.0.1:8000:8000 dpe-mner
# Explanations and checkpoints without a graph need PyTorch: --build-arg EXTRAS=serve,torch,pictures, and in
# --build-arg PIP_FLAGS where pip finds its CPU build.
FROM python:3.11-slim AS build
ARG EXTRAS=serve
ARG PIP_FLAGS=
COPY constraints.txt dist/*.whl /wheels/
RUN python -m venv /opt/dpe-mner \
    && wheel=$(ls /wheels/*.whl) \
    && /opt/dpe-mner/bin/pip install --no-cache-dir --disable-pip-version-check -c /wheels/constraints.txt \
        ${PIP_FLAGS} "dpe-mner[${EXTRAS}] @ file://${wheel}"

FROM python:3.11-slim
RUN useradd --system --uid 10001 --create-home dpe-mner
COPY --from=build /opt/dpe-mner /opt/dpe-mner
ENV PATH=/opt/dpe-mner/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1
USER 10001
WORKDIR /home/dpe-mner
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
STOPSIGNAL SIGTERM
# Within the container every address; which of the machine's reach it is the choice of "docker run -p".
ENTRYPOINT ["dpe-mner", "serve", "--host", "0.0.0.0", "--port", "8000"]
