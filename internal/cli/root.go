// Package cli is the command line: one file a command, and Main, which turns an error into words, a cure and an exit code.
//
// It is not for work: everything that is done is done by the packages it calls. Its one trap: what a program may read goes to
// standard output, what only a person reads while waiting goes to standard error.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/guard"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/userns"
	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/lab"
)

// version is set by the linker: -X github.com/tcplab/tcplab/internal/cli.version=0.1.0.
var version = "0.1.0"

// app is what every command shares.
type app struct {
	out, err io.Writer
	code     int        // exit code of a command that ended without an error
	mu       sync.Mutex // of code, and of lines that belong together, where several runs are at work
	color    string
	// partial are the runs that were done before an error; unprinted is the first error of writing text.
	partial   []*result.Result
	unprinted error
	ascii     bool
	signals   *interrupts
	guard     *guard.Guard // of a command that makes labs; else nil
	told      bool         // the one document of --json is out
}

// Main runs the command line and returns the exit code (see `tcplab help exit-codes`).
func Main(args []string) int {
	if vm.InGuest() {
		guestMain()
	}
	a := &app{out: os.Stdout, err: os.Stderr}
	return a.main(args)
}

func (a *app) main(args []string) int {
	ctx, signals, stop := untilSignal(context.Background())
	a.signals = signals
	defer stop()
	root := a.root()
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(a.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return a.code
	}
	code := a.explain(err)
	if f := cmd.Flags().Lookup("json"); f != nil && f.Value.String() == "true" && !a.told {
		a.explainJSON(err, code)
	}
	return code
}

// errorDocument is what --json prints where there is no result.
type errorDocument struct {
	Schema  string           `json:"schema"` // "tcplab.error/v1"
	Error   string           `json:"error"`
	Exit    int              `json:"exit"`
	Code    string           `json:"code,omitempty"` // for `tcplab explain`
	Cure    string           `json:"cure,omitempty"`
	Results []*result.Result `json:"results,omitempty"` // of the runs that were done before
}

// explainJSON keeps the promise of --json, one document, where there is no result to print.
func (a *app) explainJSON(err error, exit int) {
	_, code := classify(err)
	_ = writeJSON(a.out, errorDocument{Schema: "tcplab.error/v1", Error: err.Error(), Exit: exit, Code: code, Cure: cureOf(err, code), Results: a.partial})
}

// lost remembers the first error of writing text, which the command then ends with.
func (a *app) lost(err error) {
	if err != nil && a.unprinted == nil {
		a.unprinted = fmt.Errorf("print the result: %w", err)
	}
}

// plain is text in 7 bits where that was asked for.
func (a *app) plain(s string) string {
	if a.ascii {
		return strings.ReplaceAll(s, "µ", "u")
	}
	return s
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "tcplab",
		Short: "break a TCP connection on purpose, on a real Linux kernel, and see what the kernel does about it",
		Long: `tcplab makes a client and a server in network namespaces of its own, loses packets between them on purpose, and shows what the
kernel does about it: predicted beforehand from the kernel's own rules, observed in captures at both ends, compared, explained.

It never touches the machine outside its own namespaces and its output folder.`,
		Example: `  sudo tcplab run exp1-syn-loss --syn-retries=2
  tcplab predict exp1 --profile=kernel
  tcplab explain TL1203`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version,
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.PersistentFlags().StringVar(&a.color, "color", "auto", "colours: auto, always or never (NO_COLOR counts for auto)")
	root.PersistentFlags().BoolVar(&a.ascii, "ascii", false, "draw with ASCII only")
	root.SetFlagErrorFunc(flagError)
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		switch a.color {
		case "auto", "always", "never":
			return nil
		}
		return usage(explain.ValueOutOfRange, fmt.Errorf("--color=%s: want auto, always or never", a.color))
	}
	_ = root.RegisterFlagCompletionFunc("color", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(a.runCmd(), a.predictCmd(), a.listCmd(), a.describeCmd(), a.explainCmd(), a.reportCmd(), a.doctorCmd(), a.versionCmd(),
		a.kernelsCmd(), a.diffCmd(), a.matrixCmd(), a.openCmd(), a.analyseCmd(), a.manCmd(), exitCodesTopic())
	root.AddCommand(a.validateCmd(), a.schemaCmd(), a.newCmd())
	root.AddCommand(a.serveCmd())
	strict(root)
	return root
}

// strict makes cobra's own commands refuse what they do not know. By themselves they print a page and succeed.
func strict(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = func(_ *cobra.Command, args []string) error {
				_, _, err := root.Find(args)
				return err
			}
		case "completion":
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
}

// failure is an error with the exit code and the stable code that belong to it.
type failure struct {
	error
	exit int
	code string
}

func (f *failure) Unwrap() error { return f.error }

// usage marks an error that another command line mends.
func usage(code string, err error) error { return &failure{err, explain.ExitUsage, code} }

// flagError adds the closest flag to an unknown one.
func flagError(c *cobra.Command, err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "unknown flag: --"); ok {
		if s := closest(name, flagNames(c)); s != "" {
			err = fmt.Errorf("unknown flag --%s for %q; did you mean --%s?", name, c.CommandPath(), s)
		} else {
			err = fmt.Errorf("unknown flag --%s for %q; `%s --help` lists them", name, c.CommandPath(), c.CommandPath())
		}
	}
	if m := badValue.FindStringSubmatch(text); m != nil {
		if f := c.Flag(strings.TrimLeft(m[2], "-")); f != nil && wanted[f.Value.Type()] != "" {
			err = fmt.Errorf("--%s=%s: want %s", f.Name, m[1], wanted[f.Value.Type()])
		}
	}
	return usage(explain.ValueOutOfRange, err)
}

// badValue is pflag's complaint about a value, which has no type of its own; wanted says the same for people.
var (
	badValue = regexp.MustCompile(`^invalid argument "(.*)" for "(?:-., )?(--[^"]+)" flag:`)
	wanted   = map[string]string{"int": "a whole number", "duration": "a time with its unit, such as 30s or 2m", "bool": "true or false"}
)

// explain prints an error with its cure and returns its exit code.
func (a *app) explain(err error) int {
	var sig *signalError
	if errors.As(err, &sig) {
		fmt.Fprintf(a.err, "tcplab: %v; everything was undone\n", sig)
		return sig.exit()
	}
	exit, code := classify(err)
	fmt.Fprintf(a.err, "tcplab: %v\n", err)
	if code == explain.NoUserNamespace && userns.Inside() {
		if why := confined(userns.Label()); why != "" {
			fmt.Fprintf(a.err, "        %s\n", why)
		}
	}
	if cure := cureOf(err, code); cure != "" {
		fmt.Fprintf(a.err, "        %s\n", cure)
	}
	if code != "" {
		fmt.Fprintf(a.err, "        more: tcplab explain %s\n", code)
	}
	return exit
}

// classify finds the exit code and the stable code of an error.
func classify(err error) (exit int, code string) {
	var f *failure
	var unknown *experiments.UnknownError
	if exit, code, ok := cannotBoot(err); ok {
		return exit, code
	}
	switch {
	case noDescriptors(err):
		return explain.ExitUnable, explain.NoDescriptors
	case errors.As(err, &f) && f.code == explain.OutputNotWritable && isDiskFull(err):
		return explain.ExitInternal, explain.DiskFull
	case errors.As(err, &f):
		return f.exit, f.code
	case withoutRights(err):
		return explain.ExitUnable, explain.NoUserNamespace
	case errors.As(err, &unknown):
		return explain.ExitUsage, explain.UnknownExperiment
	case errors.Is(err, lab.ErrLeftBehind):
		return explain.ExitInternal, explain.LeftBehind
	case errors.Is(err, lab.ErrNoIPTables):
		return explain.ExitUnable, explain.NoIptables
	case errors.Is(err, os.ErrPermission) && errors.Is(err, runner.ErrUnable), errors.Is(err, syscall.EROFS) && errors.Is(err, runner.ErrUnable):
		return explain.ExitUnable, explain.NoPrivilege
	case errors.Is(err, lab.ErrUnsupported) && strings.Contains(err.Error(), "iptables"):
		return explain.ExitUnable, explain.NoIptables
	case errors.Is(err, lab.ErrUnsupported):
		return explain.ExitUnable, explain.NoVeth
	case errors.Is(err, runner.ErrUnable):
		return explain.ExitUnable, explain.KnobMissing
	case errors.Is(err, runner.ErrUsage):
		return explain.ExitUsage, explain.ValueOutOfRange
	case isUnknownCommand(err):
		return explain.ExitUsage, ""
	case isDiskFull(err):
		return explain.ExitInternal, explain.DiskFull
	}
	return explain.ExitInternal, explain.InternalError
}

// isUnknownCommand recognises cobra's own complaints about the command line, which have no types.
func isUnknownCommand(err error) bool {
	s := err.Error()
	for _, p := range []string{"unknown command", "accepts ", "requires ", "invalid argument"} {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// cureOf is what to do about an error; empty: it says so itself.
func cureOf(err error, code string) string {
	if code == "" && isUnknownCommand(err) {
		return "`tcplab --help` lists the commands, and `tcplab COMMAND --help` what one takes"
	}
	return cureFor(code)
}

func cureFor(code string) string {
	switch code {
	case explain.NoPrivilege:
		return "run it with sudo; `tcplab predict` needs no privilege"
	case explain.NoUserNamespace:
		return "run it with sudo, or mend what is named here; `tcplab predict` and `run --kernel` need no privilege"
	case explain.NoMachine:
		return "`tcplab doctor` says what this machine has; `tcplab kernels list` shows the kernels"
	case explain.UnknownExperiment:
		return "`tcplab list` shows the catalogue"
	case explain.NoDescriptors:
		return "raise the limit in the shell that starts it (ulimit -n 4096), or make fewer runs at once (--parallel)"
	case explain.DiskFull:
		return "make room, or choose another folder with --out DIR"
	}
	return ""
}
