package image_test

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/coffer-vault/coffer/hack/local/internal/image"
)

func TestTheSameProgramMakesTheSameImage(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	write := func(text string) string {
		t.Helper()
		if err := os.WriteFile(program, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		digest, err := image.Write(image.Spec{Reference: "coffer.local/test:dev", Program: program, Entrypoint: "/manager"},
			filepath.Join(dir, "image.tar"))
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	one := write("one")
	if again := write("one"); again != one {
		t.Errorf("made twice: %s and %s", one, again)
	}
	if two := write("two"); two == one {
		t.Error("another program makes the same image")
	}
}

func TestImageRunsItsProgramAsNobody(t *testing.T) {
	dir := t.TempDir()
	program, archive := filepath.Join(dir, "program"), filepath.Join(dir, "image.tar")
	if err := os.WriteFile(program, []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	spec := image.Spec{Reference: "coffer.local/test:dev", Program: program, Entrypoint: "/manager", TrustAuthorities: true}
	if _, err := image.Write(spec, archive); err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range headers(t, img) {
		if header.ModTime.Unix() != 0 {
			t.Errorf("%s is of %s: the same content makes another image tomorrow", header.Name, header.ModTime)
		}
	}
	if diff := cmp.Diff([]string{"/manager"}, config.Config.Entrypoint); diff != "" || config.Config.User != "65532:65532" {
		t.Errorf("user %q, entry point %s", config.Config.User, diff)
	}
}

// headers are those of the files in the image's only layer.
func headers(t *testing.T, img v1.Image) []*tar.Header {
	t.Helper()
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v; want 1", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	var all []*tar.Header
	for r := tar.NewReader(content); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, header)
	}
}
