# echoform on CPUs. `docker run IMAGE VERB ...` runs any verb; `docker run -p 7860:7860 -e ECHOFORM_DOPPLER_REPO=user/model
# IMAGE` serves the Space. Needed for the build, because torch's default build holds 4 GB for GPUs:
#
#     docker build --build-arg TORCH_INDEX_URL=URL -t echoform .
#
# where URL is what the selector on pytorch.org (Linux, Pip, CPU) prints behind --index-url.

FROM python:3.11-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY pipelines pipelines
COPY train train
COPY hub_cards hub_cards
COPY space_app space_app
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
ARG TORCH_INDEX_URL
ARG EXTRAS=depth,space
RUN pip install --no-cache-dir torch torchvision \
      --index-url "${TORCH_INDEX_URL:?must be the address that the selector on pytorch.org prints behind --index-url}"
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[${EXTRAS}]"

RUN useradd --create-home --uid 1000 echoform
USER echoform
WORKDIR /home/echoform
# Inside a container, a page is reached from outside only at all addresses.
ENV GRADIO_SERVER_NAME=0.0.0.0 PYTHONUNBUFFERED=1
EXPOSE 7860
ENTRYPOINT ["echoform"]
CMD ["space"]
