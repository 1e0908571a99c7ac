# syntax=docker/dockerfile:1
# The manager's image. `make image` makes the same one without a daemon.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api/ api/
COPY cmd/ cmd/
COPY controllers/ controllers/
COPY internal/ internal/
COPY sdk/ sdk/
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath \
    -ldflags "-s -w -X github.com/coffer-vault/coffer/internal/version.version=${VERSION}" \
    -o /out/manager ./cmd/manager
# What a static program still needs of a system: authorities to trust, and a name
# for its user.
RUN cp /etc/ssl/certs/ca-certificates.crt /out/ca-certificates.crt \
 && echo 'nonroot:x:65532:65532:nonroot:/:/sbin/nologin' > /out/passwd

FROM scratch
COPY --from=build /out/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/passwd /etc/passwd
COPY --from=build /out/manager /manager
USER 65532:65532
ENTRYPOINT ["/manager"]
