package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
)

func (a *app) listCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list the experiments",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				var all []result.Experiment
				for _, x := range experiments.All() {
					all = append(all, result.Experiment{Name: x.Name, Summary: x.Summary, Question: x.Question})
				}
				return writeJSON(a.out, map[string]any{"schema": "tcplab.list/v1", "experiments": all})
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			for _, x := range experiments.All() {
				fmt.Fprintf(w, "%s\t%s\n", x.Name, x.Summary)
			}
			if err := w.Flush(); err != nil {
				return err
			}
			if isTTY(a.out) {
				fmt.Fprintln(a.err, "\ntcplab describe NAME tells more; sudo tcplab run NAME runs one, sudo tcplab run all --profile=fast runs them all")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

func (a *app) describeCmd() *cobra.Command {
	return &cobra.Command{
		Use:               "describe EXPERIMENT... | all",
		Short:             "tell what an experiment asks, breaks and takes as parameters",
		Args:              someExperiment,
		ValidArgsFunction: completeExperiments,
		RunE: func(_ *cobra.Command, args []string) error {
			xs, err := expand(args)
			if err != nil {
				return err
			}
			for i, x := range xs {
				if i > 0 {
					fmt.Fprintln(a.out)
				}
				if err := Describe(a.out, x); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// load reads a stored run: a folder with result.json, or the file itself.
func load(path string) (*result.Result, error) {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		path = filepath.Join(path, "result.json")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, usage(explain.InvalidFile, fmt.Errorf("%w (want the folder of a run, or its result.json)", err))
	}
	defer f.Close()
	r, err := result.Read(f)
	if err != nil {
		return nil, usage(explain.InvalidFile, fmt.Errorf("%s: %w (want the result.json of a run, schema %s)", path, err, result.Schema))
	}
	return r, nil
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.out, "tcplab %s (%s/%s, %s)\n", version, runtime.GOOS, runtime.GOARCH, runtime.Version())
			return err
		},
	}
}

func (a *app) manCmd() *cobra.Command {
	return &cobra.Command{
		Use: "man [DIR]", Short: "print the manual page, or write those of all commands into a folder", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			h := &doc.GenManHeader{Title: "TCPLAB", Section: "1", Source: "tcplab " + version, Manual: "tcplab"}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			if len(args) == 0 {
				return doc.GenMan(root, h, a.out)
			}
			if st, err := os.Stat(args[0]); err != nil || !st.IsDir() {
				return usage(explain.OutputNotWritable, errors.Join(fmt.Errorf("man %s: want a folder that exists", args[0]), err))
			}
			return doc.GenManTree(root, h, args[0])
		},
	}
}

// exitCodesTopic is `tcplab help exit-codes`.
func exitCodesTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString("Exit codes of tcplab:\n\n")
	for _, e := range explain.Exits() {
		fmt.Fprintf(&b, "  %3d  %-13s %s\n", e.Code, e.Name, e.Meaning)
	}
	b.WriteString("\nSeveral runs give the gravest: 1 before 6, 5, 3, 4 and 0.")
	return &cobra.Command{Use: "exit-codes", Short: "what the exit codes mean", Long: b.String()}
}
