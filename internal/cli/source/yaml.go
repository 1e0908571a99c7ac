package source

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

const wellFormedYAML = "well-formed YAML (for a .env file give --format env)"

// parseYAML reads manifests, or one document of names and values. Those keep the text that
// is written: 0123, 1.10 and yes are not taken for a number or a truth value.
func parseYAML(file string, content []byte) (Parsed, error) {
	documents, err := documentsOf(file, content)
	if err != nil {
		return Parsed{}, err
	}
	if slices.ContainsFunc(documents, isManifest) {
		return parseManifests(file, content)
	}
	switch len(documents) {
	case 0:
		return Parsed{}, fmt.Errorf("%s is empty", file)
	case 1:
	default:
		return Parsed{}, fmt.Errorf("%s has %d documents; import one file for each", file, len(documents))
	}
	var document yaml.Node
	if err := yaml.Unmarshal(documents[0], &document); err != nil {
		return Parsed{}, malformed(file, wellFormedYAML, err)
	}
	if len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return Parsed{}, fmt.Errorf("%s is not a map of names and values; write NAME: VALUE, or give --format env for a .env file", file)
	}
	tree := flattening{file: file}
	if err := tree.mapping(document.Content[0], "", 0); err != nil {
		return Parsed{}, err
	}
	return tree.parsed()
}

// documentsOf splits a stream into the documents that have content.
func documentsOf(file string, content []byte) ([][]byte, error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	var documents [][]byte
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s is not %s", file, wellFormedYAML)
		}
		var node yaml.Node
		if err := yaml.Unmarshal(document, &node); err != nil {
			return nil, malformed(file, wellFormedYAML, err)
		}
		if len(node.Content) > 0 {
			documents = append(documents, document)
		}
	}
}

func (f *flattening) mapping(node *yaml.Node, prefix string, depth int) error {
	for i := 0; i+1 < len(node.Content); i += 2 {
		name := node.Content[i]
		if name.Kind != yaml.ScalarNode {
			return fmt.Errorf("%s, line %d: a name is not plain text", f.file, name.Line)
		}
		if name.ShortTag() == "!!merge" {
			return fmt.Errorf("%s, line %d: merge keys (<<) are not read; write the names out", f.file, name.Line)
		}
		key, err := f.join(prefix, name.Value, depth)
		if err != nil {
			return err
		}
		if err := f.yaml(node.Content[i+1], key, depth); err != nil {
			return err
		}
	}
	return nil
}

func (f *flattening) sequence(node *yaml.Node, prefix string, depth int) error {
	for i, item := range node.Content {
		key, err := f.join(prefix, strconv.Itoa(i), depth)
		if err != nil {
			return err
		}
		if err := f.yaml(item, key, depth); err != nil {
			return err
		}
	}
	return nil
}

func (f *flattening) yaml(node *yaml.Node, key string, depth int) error {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch {
	case node.Kind == yaml.MappingNode:
		return f.mapping(node, key, depth+1)
	case node.Kind == yaml.SequenceNode:
		return f.sequence(node, key, depth+1)
	case node.ShortTag() == "!!null":
		f.null(key)
	case node.ShortTag() == "!!binary":
		value, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(node.Value), ""))
		if err != nil {
			return fmt.Errorf("%s, line %d: %s is marked as !!binary, and is not base64", f.file, node.Line, key)
		}
		f.leaf(key, value)
	default:
		f.leaf(key, []byte(node.Value))
	}
	return nil
}
