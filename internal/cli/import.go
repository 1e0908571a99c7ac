package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/coffer-vault/coffer/internal/cli/source"
	"github.com/coffer-vault/coffer/sdk"
)

// maxSourceBytes is the largest file that is imported: far more than the Secrets of a
// namespace, of 1 MiB each at most, usually are.
const maxSourceBytes = 64 << 20

// importFlags are the flags of import.
type importFlags struct {
	to                        string
	split                     bool
	format                    string
	references                string
	secrets, configMaps       []string
	keys                      []string
	yes, dryRun, overwrite    bool
	replaceDeleted            bool
	serviceAccount, manifests string
	kube                      kubeFlags
}

func (f *importFlags) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "path to write to; with a slash at its end, a path below it for each source, by its name")
	flags.BoolVar(&f.split, "split", false, "write a path for each key instead of one value with properties")
	flags.StringVar(&f.format, "format", "", "format of the files: "+strings.Join(source.Formats(), ", ")+"; by their names when not given, and yaml for standard input")
	flags.StringVar(&f.references, "env-references", "", "what a $ in a .env file is: keep takes it as it is written, expand replaces $NAME by the file's own variable")
	flags.StringArrayVar(&f.secrets, "from-secret", nil, "Secret of the cluster to import, as NAMESPACE/NAME; may be repeated")
	flags.StringArrayVar(&f.configMaps, "from-configmap", nil, "ConfigMap of the cluster to import, as NAMESPACE/NAME; may be repeated")
	flags.StringSliceVar(&f.keys, "keys", nil, "import these keys only; * stands for any text, as in *_PASSWORD; may be repeated")
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&f.dryRun, "dry-run", false, "print the plan and write nothing")
	flags.BoolVar(&f.overwrite, "overwrite", false, "replace values of the vault that differ")
	flags.BoolVar(&f.replaceDeleted, "replace-deleted", false, "write to paths that are deleted in the vault, after which they cannot be undeleted")
	flags.StringVar(&f.serviceAccount, "service-account", "", "NAMESPACE/NAME of the service account that is to read: makes the VaultSecrets and the VaultPolicy")
	flags.StringVar(&f.manifests, "manifests", "", "folder for those manifests, instead of standard output")
	f.kube.bind(cmd)
	_ = cmd.MarkFlagDirname("manifests")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(source.Formats(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("env-references", cobra.FixedCompletions(
		[]string{string(source.ReferencesKeep), string(source.ReferencesExpand)}, cobra.ShellCompDirectiveNoFileComp))
}

// account is the service account of the flag; the zero name when none is given.
func (f *importFlags) account() (types.NamespacedName, error) {
	if f.serviceAccount == "" {
		return types.NamespacedName{}, nil
	}
	return namespacedName("service-account", f.serviceAccount)
}

func (s *session) importSecrets() *cobra.Command {
	var flags importFlags
	cmd := &cobra.Command{
		Use:   "import [FILE...] --to PATH",
		Short: "Bring secrets from files and from the cluster into the vault",
		Long: `Bring secrets into the vault from .env files, JSON and YAML files, manifests of Secrets and
ConfigMaps (- for standard input), and Secrets and ConfigMaps of the cluster. A plan is
shown first, without a value; you are asked to confirm it, unless --yes is given. It names the
cluster that is read, which --kubeconfig and --context choose, and the vault that is written
to, which they do not: that is the one of your login, or of the environment. What it
compares with is read from the vault, and the readings are audited.

Each source becomes one value with a property for each key; --split writes a path for each
key instead. In JSON and YAML, the names on the way to a value are joined by dots. What is
in the vault already and is the same is left alone, so that an import that broke off is
finished by the same command. A value that differs is replaced only with --overwrite, or
when you say so for its path. A path that is deleted in the vault is left, too: undelete it, or
give --replace-deleted. Properties that a source does not have stay. What somebody
else writes meanwhile is not lost: then the write is refused. --timeout is for each path, not for
all.

With -o json, yaml or name, what became of the paths is printed, and the rest is on standard error;
with --dry-run it is the plan.

With --service-account it ends with a VaultSecret for each source, that keeps a Secret of
the same name, type and keys so that pods need no change, and a VaultPolicy that lets the
service account read. Needs the read and the write capability.`,
		Example: `  coffer import .env --to production/payments/app --dry-run
  coffer import .env --to production/payments/app --service-account payments/api
  coffer import --from-secret payments/legacy-db --to production/payments/ \
    --service-account payments/api --manifests deploy/
  coffer import --from-configmap payments/app --keys '*_PASSWORD,*_TOKEN' --to production/payments/app
  kubectl get secrets -n payments -o yaml | coffer import - --to production/payments/ --yes`,
		Args: cobra.ArbitraryArgs, Annotations: map[string]string{explainedBy: "write"},
	}
	flags.bind(cmd)
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.ask(func(cmd *cobra.Command, args []string) error {
		if err := s.checkImport(&flags, args, output.value); err != nil {
			return err
		}
		return s.runImport(cmd, args, &flags, output.value)
	})
	return cmd
}

// checkImport refuses what can be refused before anything is read.
func (s *session) checkImport(f *importFlags, files []string, output string) error {
	_, err := f.account()
	switch {
	case err != nil:
		return err
	case len(files)+len(f.secrets)+len(f.configMaps) == 0:
		return usagef("nothing to import; name a file, - for standard input, --from-secret or --from-configmap")
	case f.to == "":
		return usagef("--to is missing: the path to write to, such as production/payments/app")
	case f.references != "" && f.references != string(source.ReferencesKeep) && f.references != string(source.ReferencesExpand):
		return usagef("--env-references is keep or expand, not %q", f.references)
	case f.format != "" && !slices.Contains(source.Formats(), f.format):
		return usagef("--format is %s, not %q", strings.Join(source.Formats(), ", "), f.format)
	case f.manifests != "" && f.serviceAccount == "":
		return usagef("--manifests needs --service-account: whose rights the VaultSecrets use")
	case output != formatTable && !f.dryRun && f.serviceAccount != "" && f.manifests == "":
		return usagef("-o %s tells of the import on standard output, where the manifests go, too: give --manifests", output)
	case !f.yes && !f.dryRun && !s.onTerminal():
		return usagef("this asks for confirmation, and standard input is not a terminal; give --yes, or --dry-run to see the plan")
	}
	return nil
}

func (s *session) runImport(cmd *cobra.Command, files []string, f *importFlags, output string) error {
	ctx, cancel := s.limit(cmd)
	defer cancel()
	sources, from, err := s.sources(ctx, files, f)
	if err != nil {
		return err
	}
	plan, err := newPlan(sources, f.to, f.split)
	if err != nil {
		return err
	}
	plan.from = from
	client, err := s.client(cmd.Context())
	if err != nil {
		return err
	}
	me, err := client.Whoami(ctx)
	if err != nil {
		return err
	}
	plan.into = fmt.Sprintf("the vault at %s as %s", client.Address(), nameOf(me))
	if err := s.comparePlan(cmd.Context(), client, plan); err != nil {
		return err
	}
	// The manifests are what other programs take from standard output; then the plan is not.
	messages := s.out
	if !f.dryRun && (output != formatTable || f.serviceAccount != "" && f.manifests == "") {
		messages = s.err
	}
	if output != formatTable && f.dryRun {
		_, _ = fmt.Fprintln(s.err, printable(plan.ways()))
		return s.print(output, result{data: plan.rows(), names: namesOf(plan.targets, func(t *target) string { return t.path })})
	}
	if err := plan.print(messages); err != nil || f.dryRun {
		return err
	}
	failed := s.carryOut(cmd, client, plan, f, messages)
	if output != formatTable {
		failed = s.printOutcome(plan, failed, output)
	}
	if f.serviceAccount == "" {
		return failed
	}
	if err := s.printManifests(plan, f, messages); err != nil && failed == nil {
		return err
	}
	return failed
}

// comparePlan compares the plan with the vault, and shows how far it is.
func (s *session) comparePlan(ctx context.Context, client *sdk.Client, p *plan) error {
	show := s.showProgress("comparing", "paths")
	defer show.end()
	return p.compare(ctx, client, s.connection.timeout, show.at)
}

// sources reads everything that the command names, and says which cluster it read: none when empty.
func (s *session) sources(ctx context.Context, files []string, f *importFlags) (found []source.Source, from string, err error) {
	for _, file := range files {
		parsed, err := s.readFile(file, f)
		if err != nil {
			return nil, "", err
		}
		for _, skipped := range parsed.Skipped {
			_, _ = fmt.Fprintf(s.err, "Left out: %s.\n", printable(skipped))
		}
		found = append(found, parsed.Sources...)
	}
	live, from, err := liveSources(ctx, f)
	if err != nil {
		return nil, "", err
	}
	found, err = source.Select(append(found, live...), f.keys)
	if err != nil {
		return nil, "", err
	}
	for _, one := range found {
		if len(one.Entries) > 0 {
			return found, from, nil
		}
	}
	return nil, "", fmt.Errorf("there is nothing to import: what was named has no values")
}

func (s *session) readFile(file string, f *importFlags) (source.Parsed, error) {
	name, format := file, source.Format(f.format)
	in := s.in
	if file == "-" {
		name = "standard input"
		if format == "" {
			format = source.FormatYAML // JSON is YAML, too
		}
	} else {
		if format == "" {
			format = source.FormatOf(file)
		}
		opened, err := os.Open(file)
		if err != nil {
			return source.Parsed{}, fmt.Errorf("read what to import: %w", err)
		}
		defer func() { _ = opened.Close() }()
		in = opened
	}
	content, err := awaited(s, func() ([]byte, error) { return io.ReadAll(io.LimitReader(in, maxSourceBytes+1)) })
	if err != nil {
		return source.Parsed{}, fmt.Errorf("read what to import: %w", err)
	}
	if len(content) > maxSourceBytes {
		return source.Parsed{}, fmt.Errorf("%s has more than %d MiB, which is not a file of secrets", name, maxSourceBytes>>20)
	}
	defer clear(content)
	if file == "-" && format == source.FormatYAML && bytes.HasPrefix(bytes.TrimSpace(content), []byte("{")) {
		format = source.FormatJSON
	}
	return source.Parse(name, format, content, source.References(f.references))
}

// liveSources reads the Secrets and ConfigMaps of the cluster that the flags name, and says which cluster it is.
func liveSources(ctx context.Context, f *importFlags) (found []source.Source, from string, err error) {
	if len(f.secrets)+len(f.configMaps) == 0 {
		return nil, "", nil
	}
	kube, err := f.kube.connect()
	if err != nil {
		return nil, "", err
	}
	secrets, err := liveSecrets(ctx, kube, f.secrets)
	if err != nil {
		return nil, "", err
	}
	configMaps, err := liveConfigMaps(ctx, kube, f.configMaps)
	if err != nil {
		return nil, "", err
	}
	return append(secrets, configMaps...), kube.where, nil
}

func liveSecrets(ctx context.Context, kube cluster, names []string) (found []source.Source, err error) {
	for _, given := range names {
		name, err := namespacedName("from-secret", given)
		if err != nil {
			return nil, err
		}
		var object corev1.Secret
		if err := kube.Get(ctx, name, &object); err != nil {
			return nil, clusterError("read the Secret "+given, err)
		}
		one, skipped, err := source.FromSecret(&object)
		if err != nil {
			return nil, err
		}
		if skipped != "" {
			return nil, fmt.Errorf("%s, so it is not imported", skipped)
		}
		found = append(found, one)
	}
	return found, nil
}

func liveConfigMaps(ctx context.Context, kube cluster, names []string) (found []source.Source, err error) {
	for _, given := range names {
		name, err := namespacedName("from-configmap", given)
		if err != nil {
			return nil, err
		}
		var object corev1.ConfigMap
		if err := kube.Get(ctx, name, &object); err != nil {
			return nil, clusterError("read the ConfigMap "+given, err)
		}
		one, err := source.FromConfigMap(&object)
		if err != nil {
			return nil, err
		}
		found = append(found, one)
	}
	return found, nil
}

// baseName is what a source is called in paths and names: the object, or the file without
// its folder, its first dot and its extension.
func baseName(one source.Source) string {
	if one.Kind != source.KindFile {
		return one.Name
	}
	base := strings.TrimPrefix(filepath.Base(one.Name), ".")
	if trimmed := strings.TrimSuffix(base, filepath.Ext(base)); trimmed != "" && !strings.HasPrefix(base, "env.") {
		base = trimmed
	}
	return base
}
