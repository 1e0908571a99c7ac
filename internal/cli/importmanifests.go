package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"k8s.io/apimachinery/pkg/types"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/cli/access"
	"github.com/coffer-vault/coffer/internal/cli/manifest"
	"github.com/coffer-vault/coffer/internal/cli/source"
)

// manifestFile is an object to apply, and the name of its file.
type manifestFile struct {
	name   string
	object any
}

// printManifests writes the VaultPolicy and the VaultSecrets of what is in the vault now, and
// says how to go on.
func (s *session) printManifests(p *plan, f *importFlags, messages io.Writer) error {
	account, err := f.account()
	if err != nil {
		return err
	}
	files, steps, notes, err := p.manifests(account)
	if err != nil {
		return err
	}
	for _, note := range notes {
		_, _ = fmt.Fprintln(messages, "Note: "+printable(note)+".")
	}
	var apply string
	switch {
	case len(files) == 0:
		return nil
	case f.manifests == "":
		if err := s.encodeManifests(files); err != nil {
			return err
		}
		apply = "apply what is on standard output: kubectl apply -f -"
	default:
		if err := saveManifests(f.manifests, files, messages); err != nil {
			return err
		}
		apply = "kubectl apply -f " + access.ShellWord(f.manifests)
	}
	next := append(append(steps.before, apply), steps.after...)
	_, _ = fmt.Fprintln(messages, "\nNext:")
	for _, step := range next {
		if _, err := fmt.Fprintln(messages, "  "+printable(step)); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) encodeManifests(files []manifestFile) error {
	objects := make([]any, len(files))
	for i, file := range files {
		objects[i] = file.object
	}
	stream, err := manifest.Encode(objects...)
	if err != nil {
		return err
	}
	_, err = s.out.Write(stream)
	return err
}

// nextSteps are what a person does before and after applying the manifests.
type nextSteps struct{ before, after []string }

// manifests makes the objects, and what is to be done besides applying them. notes say for
// which sources there are none, and why.
func (p *plan) manifests(account types.NamespacedName) (files []manifestFile, steps nextSteps, notes []string, err error) {
	var paths []string
	imports := p.imports(account)
	taken := map[string]bool{}
	for _, imported := range imports { // a Secret keeps its name
		taken[imported.Name] = taken[imported.Name] || imported.Source.Kind == source.KindSecret
	}
	for _, imported := range imports {
		one := imported.Source
		if one.Kind != source.KindSecret && taken[imported.Name] {
			imported.Name += "-" + manifest.NameOf(string(one.Kind))
		}
		object, err := manifest.VaultSecret(imported)
		if err != nil {
			notes = append(notes, fmt.Sprintf("no VaultSecret was made for %s: %v", one, err))
			continue
		}
		taken[imported.Name] = true
		for _, k := range imported.Keys {
			paths = append(paths, k.Path)
		}
		files = append(files, manifestFile{"vaultsecret-" + object.Namespace + "-" + object.Name + ".yaml", object})
		steps.add(imported)
	}
	if len(files) == 0 {
		return nil, steps, notes, nil
	}
	policy, err := manifest.VaultPolicy(account, paths)
	if err != nil {
		return nil, steps, nil, err
	}
	return append([]manifestFile{{"vaultpolicy-" + policy.Name + ".yaml", policy}}, files...), steps, notes, nil
}

// imports are the sources all of whose keys are in the vault.
func (p *plan) imports(account types.NamespacedName) []manifest.Import {
	var found []manifest.Import
	at := map[*source.Source]int{}
	missing := map[*source.Source]bool{}
	for _, t := range p.targets {
		missing[t.source] = missing[t.source] || !t.done
		i, known := at[t.source]
		if !known {
			i = len(found)
			at[t.source] = i
			name := manifest.NameOf(baseName(*t.source))
			if t.source.Kind == source.KindFile {
				name = manifest.NameOf(path.Base(t.path))
				if t.raw {
					name = manifest.NameOf(path.Base(path.Dir(t.path)))
				}
			}
			found = append(found, manifest.Import{Source: *t.source, Account: account, Name: name, Whole: !t.raw && len(t.kept) == 0})
		}
		found[i].Keys = append(found[i].Keys, t.keys()...)
	}
	var whole []manifest.Import
	for _, t := range p.targets {
		if i, ok := at[t.source]; ok && !missing[t.source] {
			whole = append(whole, found[i])
			delete(at, t.source)
		}
	}
	return whole
}

// add says what makes workloads use the VaultSecret's Secret.
func (n *nextSteps) add(i manifest.Import) {
	one := i.Source
	switch one.Kind {
	case source.KindSecret:
		n.before = append(n.before, fmt.Sprintf("kubectl annotate secret -n %s %s %s=%s", i.Account.Namespace, access.ShellWord(one.Name), vaultv1alpha1.AdoptByAnnotation, i.Name))
		if one.Immutable {
			n.after = append(n.after, one.String()+" is immutable: it is deleted and made anew, so that it can follow the vault")
		}
	case source.KindConfigMap:
		n.after = append(n.after, fmt.Sprintf("let workloads that take these keys from %s take them from the Secret %s, and take them out of the ConfigMap", one, i.Name))
	default:
		n.after = append(n.after, fmt.Sprintf("let workloads take the keys of %s from the Secret %s, and remove the file", one, i.Name))
	}
}

// saveManifests writes a file for each object. One that is there already stays, and has to
// be the same.
func saveManifests(folder string, files []manifestFile, messages io.Writer) error {
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // manifests, which hold no value, are for others to read
		return fmt.Errorf("make the folder for the manifests: %w", err)
	}
	for _, file := range files {
		content, err := manifest.Encode(file.object)
		if err != nil {
			return err
		}
		name := filepath.Join(folder, file.name)
		there, err := os.ReadFile(name)
		switch {
		case err == nil && bytes.Equal(there, content):
			continue
		case err == nil:
			return fmt.Errorf("%s exists already with another content: remove it, or name another folder", name)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("write the manifests: %w", err)
		}
		if err := writeNew(name, func(w io.Writer) error {
			_, err := w.Write(content)
			return err
		}); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(messages, "%s written\n", name); err != nil {
			return err
		}
	}
	return nil
}
