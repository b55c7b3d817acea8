package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/experiments/files"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/spec"
)

// isFile reports whether a name means a file and not an experiment of the catalogue.
func isFile(name string) bool {
	ext := filepath.Ext(name)
	return ext == ".yaml" || ext == ".yml" || strings.ContainsRune(name, filepath.Separator)
}

// mostSource bounds what is read of a file; the parser refuses long before.
const mostSource = 16 << 20

// readSpec reads and checks an experiment's file.
func readSpec(path string) (*spec.File, error) {
	st, err := os.Stat(path)
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: want a file", path)
	}
	if err == nil && st.Size() > mostSource {
		err = fmt.Errorf("%s: %d bytes, want an experiment", path, st.Size())
	}
	if err != nil {
		return nil, usage(explain.InvalidFile, err)
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, usage(explain.InvalidFile, err)
	}
	return spec.Parse(path, src)
}

// fromFile is the experiment of a file.
func fromFile(path string) (*experiments.Experiment, error) {
	f, err := readSpec(path)
	var invalid *spec.Invalid
	if errors.As(err, &invalid) {
		return nil, usage(explain.InvalidFile, fmt.Errorf("not a valid experiment\n%w", err))
	}
	if err != nil {
		return nil, err
	}
	return f.Experiment(), nil
}

// verdictOnFile is what validate says of one file.
type verdictOnFile struct {
	Path     string         `json:"path"`
	Valid    bool           `json:"valid"`
	Problems []spec.Problem `json:"problems,omitempty"`
	Model    string         `json:"model,omitempty"` // what predicts it
	Takes    result.Seconds `json:"takes,omitempty"` // about how long a run takes, on the kernel it was predicted for
}

func (a *app) validateCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "validate FILE...",
		Short: "check experiments that are written as files (no root, nothing is run)",
		Long: `Validate reads experiment files and tells everything that is wrong with them, one line each, as FILE:LINE:COLUMN: what editors jump to.
It checks the form, the knobs and their values, the steps, and that the model that is to predict the run speaks of them: it makes the
prediction once, for this kernel or, where there is none, for Linux 6.12.`,
		Example: `  tcplab validate my-lab.yaml
  tcplab validate --json my-lab.yaml`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, paths []string) error {
			var all []verdictOnFile
			for _, path := range paths {
				v, err := validate(path)
				if err != nil {
					return err
				}
				all = append(all, v)
				if !v.Valid {
					a.code = explain.ExitUsage
				}
			}
			if asJSON {
				return writeJSON(a.out, map[string]any{"schema": "tcplab.validation/v1", "files": all})
			}
			return a.tellVerdicts(all)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

// validate checks one file, and tries its prediction.
func validate(path string) (verdictOnFile, error) {
	v := verdictOnFile{Path: path}
	f, err := readSpec(path)
	var invalid *spec.Invalid
	if errors.As(err, &invalid) {
		v.Problems = invalid.Problems
		return v, nil
	}
	if err != nil {
		return v, err
	}
	facts, err := kernel.Running()
	if err != nil {
		if facts, err = kernel.Model(kernel.Version{Major: 6, Minor: 12}, 250); err != nil {
			return v, err
		}
	}
	x := f.Experiment()
	plan, err := x.Plan(experiments.Textbook, nil, nil)
	if err != nil {
		return v, err
	}
	p, err := predict(x, plan, facts)
	if err != nil {
		v.Problems = []spec.Problem{f.Unpredicted(err)}
		return v, nil
	}
	v.Valid, v.Model, v.Takes = true, f.Model(), result.Seconds(report.Estimate(p))
	return v, nil
}

// tellVerdicts prints one line for a valid file, and for another one each problem, with the line that it is in.
func (a *app) tellVerdicts(all []verdictOnFile) error {
	for _, v := range all {
		if v.Valid {
			if _, err := fmt.Fprintf(a.out, "%s: valid, predicted by %s, takes about %.3g s\n", v.Path, v.Model, v.Takes.Duration().Seconds()); err != nil {
				return err
			}
			continue
		}
		src, _ := os.ReadFile(v.Path)
		lines := strings.Split(string(src), "\n")
		for _, p := range v.Problems {
			fmt.Fprintf(a.out, "%s:%d:%d: %s\n", v.Path, p.Pos.Line, p.Pos.Col, report.Visible(p.Text))
			if i := p.Pos.Line - 1; i >= 0 && i < len(lines) && strings.TrimSpace(lines[i]) != "" {
				fmt.Fprintf(a.out, "    %s\n    %s^\n", report.Visible(strings.ReplaceAll(lines[i], "\t", " ")), strings.Repeat(" ", max(p.Pos.Col-1, 0)))
			}
		}
	}
	return nil
}

func (a *app) schemaCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "print the JSON schema of experiment files, which editors understand",
		Long: `Schema prints the JSON schema (2020-12) of experiment files. An editor that knows it completes keys and marks mistakes while you type:

  # yaml-language-server: $schema=./tcplab.schema.json`,
		Example: "  tcplab schema > tcplab.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := a.out.Write(spec.Schema())
			return err
		},
	}
}

func (a *app) newCmd() *cobra.Command {
	var from, name string
	cmd := &cobra.Command{
		Use:   "new --from EXPERIMENT [FILE]",
		Short: "write an experiment file to begin with",
		Long: `New prints an experiment of the catalogue as a file, or writes it to FILE, which must not exist. Change it, and give it to validate,
predict and run.`,
		Example: `  tcplab new --from exp1 my-lab.yaml
  tcplab validate my-lab.yaml
  sudo tcplab run my-lab.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := template(from, name)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				_, err := a.out.Write(text)
				return err
			}
			out, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if errors.Is(err, fs.ErrExist) {
				return usage(explain.OutputNotWritable, fmt.Errorf("%s: there is such a file already, and it is left as it is: give another name, or remove it first", args[0]))
			}
			if err != nil {
				return usage(explain.OutputNotWritable, err)
			}
			_, _ = handOver(func(uid, gid int) error { return out.Chown(uid, gid) })
			_, err = out.Write(text)
			return errors.Join(err, out.Close())
		},
	}
	cmd.Flags().StringVar(&from, "from", "exp1-syn-loss", "the experiment to begin with, or a unique beginning of its name")
	cmd.Flags().StringVar(&name, "name", "", "the name of the new experiment (default: the old one's)")
	_ = cmd.RegisterFlagCompletionFunc("from", cobra.FixedCompletions(templates(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// templates are the names of the experiments that there are as files.
func templates() []string {
	found, _ := fs.Glob(files.FS, "*.yaml")
	for i := range found {
		found[i] = strings.TrimSuffix(found[i], ".yaml")
	}
	return found
}

// template is an experiment of the catalogue as a file, under another name where one is given.
func template(from, name string) ([]byte, error) {
	var hits []string
	for _, t := range templates() {
		if t == from {
			hits = []string{t}
			break
		}
		if from != "" && strings.HasPrefix(t, from) {
			hits = append(hits, t)
		}
	}
	if len(hits) != 1 {
		return nil, usage(explain.UnknownExperiment, fmt.Errorf("--from=%s: want one of %s", from, strings.Join(templates(), ", ")))
	}
	text, err := fs.ReadFile(files.FS, hits[0]+".yaml")
	if err != nil || name == "" {
		return text, err
	}
	text = []byte(strings.Replace(string(text), "\nname: "+hits[0]+"\n", "\nname: "+name+"\n", 1))
	if _, err := spec.Parse("--name", text); err != nil {
		return nil, usage(explain.ValueOutOfRange, fmt.Errorf("--name=%s: want small letters, digits and dashes, such as late-syn", name))
	}
	return text, nil
}
