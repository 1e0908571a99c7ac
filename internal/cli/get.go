package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/sdk"
)

// writer is (*sdk.Client).Put or Rotate.
type writer func(*sdk.Client, context.Context, string, sdk.PutRequest) (sdk.Metadata, error)

func (s *session) get() *cobra.Command {
	var (
		version  string
		property string
	)
	cmd := &cobra.Command{
		Use:   "get PATH",
		Short: "Print the value of a secret",
		Long: `Print the value of a secret, byte for byte; on a terminal a newline follows. The reading is
audited. With -o json or yaml the value is in base64, as in the API.

Needs the read capability.`,
		Example: `  coffer get production/payments/database
  coffer get production/payments/database --property password
  coffer get production/payments/database --version 3 -o json
  coffer get production/payments/database --version previous`,
		Args: onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "read"},
	}
	cmd.Flags().StringVar(&version, "version", "", "version to read, by number or as current, previous or pending; the current one when not given")
	_ = cmd.RegisterFlagCompletionFunc("version", cobra.FixedCompletions(
		[]string{sdk.LabelCurrent, sdk.LabelPrevious, sdk.LabelPending}, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringVar(&property, "property", "", "print one property of a value that is a JSON object of strings")
	output := addFormat(cmd, formatRaw, formatJSON, formatYAML)
	cmd.RunE = s.do(func(cmd *cobra.Command, args []string) error {
		if property != "" && output.value != formatRaw {
			return usagef("--property prints the property alone: leave -o out")
		}
		read, err := versionOf(version)
		if err != nil {
			return err
		}
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		found, err := read(client, cmd.Context(), args[0])
		if err != nil {
			return err
		}
		defer clear(found.Value)
		if output.value != formatRaw {
			return marshal(s.out, output.value, found)
		}
		if property == "" {
			return s.printValue(found.Value)
		}
		value, err := propertyOf(found, property)
		if err != nil {
			return err
		}
		return s.printValue([]byte(value))
	})
	return cmd
}

// versionOf is how to read a version that is given by number or label.
func versionOf(given string) (func(*sdk.Client, context.Context, string) (sdk.Secret, error), error) {
	switch given {
	case "":
		return (*sdk.Client).Get, nil
	case sdk.LabelCurrent, sdk.LabelPrevious, sdk.LabelPending:
		return func(c *sdk.Client, ctx context.Context, path string) (sdk.Secret, error) {
			return c.GetLabel(ctx, path, given)
		}, nil
	}
	number, err := strconv.ParseInt(given, 10, 64)
	if err != nil || number < 1 {
		return nil, usagef("--version %s: give a number from 1, or current, previous or pending", given)
	}
	return func(c *sdk.Client, ctx context.Context, path string) (sdk.Secret, error) {
		return c.GetVersion(ctx, path, number)
	}, nil
}

func (s *session) printValue(value []byte) error {
	if _, err := s.out.Write(value); err != nil {
		return err
	}
	if _, ok := terminalOf(s.out); ok {
		_, err := fmt.Fprintln(s.out)
		return err
	}
	return nil
}

// propertiesOf reads the properties of a value; one that is null is nil. What does not survive as text, as bytes that are no UTF-8, is
// refused. Its errors quote nothing of the value, and end with what to do instead.
func propertiesOf(found sdk.Secret, instead string) (map[string]*string, error) {
	var properties map[string]*string
	if err := json.Unmarshal(found.Value, &properties); err != nil || properties == nil || !utf8.Valid(found.Value) {
		return nil, errors.New("the value of " + found.Path + " is not a JSON object of strings, so it has no properties; " + instead)
	}
	return properties, nil
}

// propertyOf reads one property. Its errors quote nothing of the value.
func propertyOf(found sdk.Secret, name string) (string, error) {
	properties, err := propertiesOf(found, "get it without --property")
	if err != nil {
		return "", err
	}
	value := properties[name]
	if value == nil {
		return "", fmt.Errorf("the value of %s has no property %q", found.Path, name)
	}
	return *value, nil
}

func (s *session) describe() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "describe PATH",
		Short: "Describe a secret without its value",
		Long:  "Describe the current version of a secret, never its value. Needs the list or the read capability.",
		Args:  onePath, ValidArgsFunction: s.completePath, Annotations: map[string]string{explainedBy: "list"},
	}
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(cmd *cobra.Command, args []string) error {
		client, err := s.client(cmd.Context())
		if err != nil {
			return err
		}
		found, err := client.Metadata(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return s.print(output.value, result{data: found, names: []string{found.Path}, text: func() error { return s.printDescription(found) }})
	})
	return cmd
}

func (s *session) printDescription(m sdk.Metadata) error {
	reminder := "never"
	if m.RotateAfterDays > 0 {
		due := m.CreatedAt.Add(time.Duration(m.RotateAfterDays) * 24 * time.Hour)
		reminder = fmt.Sprintf("after %d days, on %s", m.RotateAfterDays, due.UTC().Format(time.DateOnly))
	}
	access := "nobody besides those whom a VaultPolicy allows"
	if len(m.Access.AllowedServices) > 0 && len(m.Access.AllowedEnvironments) > 0 {
		access = strings.Join(m.Access.AllowedServices, ", ") + " in " + strings.Join(m.Access.AllowedEnvironments, ", ")
	}
	keeps := "all versions"
	if m.MaxVersions > 0 {
		keeps = fmt.Sprintf("%d versions", m.MaxVersions)
	}
	return table(s.out, []string{"Path:", m.Path}, [][]string{
		{"Version:", fmt.Sprint(m.Version)},
		{"Written:", fmt.Sprintf("%s (%s ago) by %s", stamp(m.CreatedAt), s.age(m.CreatedAt), m.CreatedBy)},
		{"Description:", m.Description},
		{"Tags:", tagsOf(m.Tags)},
		{"Rotate:", reminder},
		{"Keeps:", keeps},
		{"Read by:", access},
	})
}
