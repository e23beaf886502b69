# cosmotok in a container:  docker build -t cosmotok .
# Then, on the CPU:         docker run --rm -v "$PWD:/work" cosmotok reconstruct clip.mp4
# with CUDA:                docker run --rm --gpus all -v "$PWD:/work" cosmotok reconstruct clip.mp4
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS development
# PyTorch's usual wheels run on the CPU and with CUDA. For a much smaller image without CUDA, build with
# --build-arg TORCH_INDEX=... and the address of the CPU wheels that PyTorch's installation page names.
ARG TORCH_INDEX=""
RUN apt-get update && apt-get install --yes --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir torch torchvision ${TORCH_INDEX:+--index-url ${TORCH_INDEX}}

FROM development AS cosmotok
COPY . /source
RUN pip install --no-cache-dir "/source[train,eval,export]" && rm -rf /source
RUN useradd --create-home user
USER user
WORKDIR /work
ENTRYPOINT ["cosmotok"]
CMD ["--help"]
