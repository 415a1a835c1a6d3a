# docker build -t msanet .
# docker run --rm --volume "$PWD:/photos" --user "$(id -u):$(id -g)" msanet recognize party.jpg --output annotated
FROM python:3.11-slim

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY msanet msanet
RUN pip install --no-cache-dir . && rm -rf /src && useradd --create-home msanet

USER msanet
WORKDIR /photos
ENTRYPOINT ["msanet"]
