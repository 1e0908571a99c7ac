// Package image makes container images without a daemon: an archive with one layer that holds a static program.
package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// user is the one images of distroless style run as: no name, no rights.
const user = "65532:65532"

// authorities is where Debian, and programs made with Go, look for the certificates they trust.
const authorities = "/etc/ssl/certs/ca-certificates.crt"

// Spec is what an image is made of.
type Spec struct {
	// Reference is its name and tag.
	Reference string
	// Program is the static program that becomes its entry point, at Entrypoint.
	Program, Entrypoint string
	// TrustAuthorities puts this machine's certificate authorities into it, if it has any.
	TrustAuthorities bool
}

// Write makes the image and puts its archive, in the format of "docker save", at file. It returns the digest of the
// image's configuration, which is the same whenever program and specification are.
func Write(spec Spec, file string) (digest string, err error) {
	img, err := build(spec)
	if err != nil {
		return "", fmt.Errorf("making image %s: %w", spec.Reference, err)
	}
	tag, err := name.NewTag(spec.Reference)
	if err != nil {
		return "", fmt.Errorf("naming image %s: %w", spec.Reference, err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", fmt.Errorf("writing image %s: %w", spec.Reference, err)
	}
	if err := tarball.WriteToFile(file, tag, img); err != nil {
		return "", fmt.Errorf("writing image %s: %w", spec.Reference, err)
	}
	hash, err := img.ConfigName()
	if err != nil {
		return "", fmt.Errorf("making image %s: %w", spec.Reference, err)
	}
	return hash.String(), nil
}

func build(spec Spec) (v1.Image, error) {
	content, err := layerOf(spec)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	})
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.User = user
	config.Config.Entrypoint = []string{spec.Entrypoint}
	config.Config.WorkingDir = "/"
	config.Config.Env = []string{"PATH=/"}
	return mutate.ConfigFile(img, config)
}

// layerOf is the tar archive of the image's file system.
func layerOf(spec Spec) ([]byte, error) {
	program, err := os.ReadFile(spec.Program)
	if err != nil {
		return nil, err
	}
	files := []entry{
		{"etc/", nil, 0o755},
		{"etc/passwd", []byte("nonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"), 0o644},
		{"tmp/", nil, 0o1777},
		{spec.Entrypoint[1:], program, 0o755},
	}
	if spec.TrustAuthorities {
		bundle, err := os.ReadFile(authorities)
		switch {
		case err == nil:
			files = append(files, entry{authorities[1:], bundle, 0o644})
		case !errors.Is(err, os.ErrNotExist):
			return nil, err
		}
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		if err := f.write(w); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// entry is a file of a layer, or a folder if its name ends in a slash.
type entry struct {
	name    string
	content []byte
	mode    int64
}

func (e entry) write(w *tar.Writer) error {
	header := &tar.Header{
		Name: e.name, Mode: e.mode, Size: int64(len(e.content)), Typeflag: tar.TypeReg,
		ModTime: time.Unix(0, 0), // the same content is to make the same image
	}
	if e.name[len(e.name)-1] == '/' {
		header.Typeflag = tar.TypeDir
	}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.Write(e.content)
	return err
}
