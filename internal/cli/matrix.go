package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/guard"
	"github.com/tcplab/tcplab/internal/vm"
)

// hostKernel is the name of this machine's own kernel among others.
const hostKernel = "host"

// matrixForms are what a matrix can be printed as.
var matrixForms = []string{"text", "json", "junit", "markdown", "html"}

// matrixFlags are the flags of matrix: those of run that a column can have, and those of report.
type matrixFlags struct {
	runFlags
	kernels []string
	form    string
	html    string
	as      map[string]*bool // --json for --format=json, and so on
}

func (a *app) matrixCmd() *cobra.Command {
	f := &matrixFlags{as: map[string]*bool{}}
	cmd := &cobra.Command{
		Use:   "matrix EXPERIMENT... | all",
		Short: "run experiments on several kernels, and say what changes between them and why",
		Long: `Matrix runs each experiment on each kernel and prints one table: the verdicts, what was predicted for each kernel, and what changes from
one kernel to the next. Why is found by asking for the prediction again with one fact or knob of the other kernel at a time.

Kernels are named as for run --kernel and run in virtual machines, in virtual time, without root; several machines at once, one for each
processor. The name host is this machine's own kernel, in real time; it needs what run needs, and its labs run after the machines,
because those keep the processors busy. Without --kernels it is every kernel in the cache.

A matrix leaves one folder: matrix.json, matrix.txt, junit.xml, report.html, and below them a folder of each run by kernel and experiment,
with all that run leaves. The exit code is that of the gravest run; what changes between kernels is no failure.`,
		Example: `  tcplab matrix exp1 --profile=kernel --kernels=6.1,6.12
  tcplab matrix all --kernels=6.1,6.12
  sudo tcplab matrix exp1 exp3 --profile=fast --kernels=6.12,host
  tcplab matrix all --json > matrix.json`,
		Args:              someExperiment,
		ValidArgsFunction: completeExperiments,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.matrix(cmd, f, args) },
	}
	f.flags(cmd)
	fl := cmd.Flags()
	fl.StringSliceVar(&f.kernels, "kernels", nil, "kernels to run on, separated by commas: 6.1, a release, a path, or host for this machine's (default: all in the cache)")
	fl.StringVar(&f.form, "format", "text", oneOf(matrixForms))
	for _, form := range matrixForms[1:4] {
		f.as[form] = fl.Bool(form, false, "the same as --format="+form)
	}
	fl.StringVar(&f.html, "html", "", "also write the page to this file (- for standard output); the folder has it in any case")
	fl.StringVar(&f.out, "out", "tcplab-runs", "folder in which the folder of the matrix is made")
	fl.IntVar(&f.parallel, "parallel", 0, "how many machines, or labs on the host, at once, 1 to 1000 (default: machines one for each processor, labs one for each experiment)")
	fl.DurationVar(&f.timeout, "timeout", 0, "give a run up this long after its first packet (default: a little longer than predicted)")
	fl.BoolVar(&f.realTime, "real-time", false, "let the machines' clocks run with this one's")
	fl.StringVar(&f.evidence, "evidence", "auto", "the kernel's own account, by eBPF and counters: auto (where this machine and user can) or off")
	_ = cmd.RegisterFlagCompletionFunc("evidence", cobra.FixedCompletions([]string{"auto", "off"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(matrixForms, cobra.ShellCompDirectiveNoFileComp))
	shardFlag(cmd, &f.shard, "experiments, each on all kernels")
	langFlag(cmd, &f.lang)
	_ = cmd.MarkFlagDirname("out")
	return cmd
}

// divide leaves this process its part of the rows. A row is not divided: what changes from kernel to kernel is found where all of it is run.
func (m *matrixRun) divide(given bool) error {
	s, err := findShard(m.flags.shard, given, os.Getenv)
	if err != nil {
		return err
	}
	settings := m.flags.settings()
	for _, c := range m.cols {
		settings = append(settings, c.name)
	}
	m.jobs, m.shard = m.app.part(s, m.jobs, "experiments", settings)
	for i, j := range m.jobs {
		if j.part != nil {
			m.rows = append(m.rows, j.part.Run)
		}
		m.jobs[i].part = nil // the matrix is of the list, and not each of its runs
	}
	return nil
}

// oneOf lists choices: "text, json or html".
func oneOf(list []string) string {
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}

// check refuses what cannot be meant, and decides the form that is printed.
func (f *matrixFlags) check(changed func(string) bool) (form string, err error) {
	if f.parallel == 0 && !changed("parallel") {
		f.repeat, f.parallel = 1, 1 // decided later
		defer func() { f.parallel = 0 }()
	}
	f.repeat = 1
	if err := f.runFlags.check(changed("timeout"), 1); err != nil {
		return "", err
	}
	r := reportFlags{form: f.form, html: f.html, as: f.as}
	if !slices.Contains(matrixForms, f.form) {
		return "", usage(explain.ValueOutOfRange, fmt.Errorf("--format=%s: want %s", f.form, oneOf(matrixForms)))
	}
	if form, err = r.check(changed); err == nil && form == "" {
		form = "text" // --html to a file says where the page goes, not that nothing is printed
	}
	return form, err
}

// column is one kernel of a matrix.
type column struct {
	name   string // as it was asked for
	host   bool
	kernel vm.Kernel // where it is not the host's, unpacked
	apart  bool      // another column has a kernel of its release
}

// kernelColumns resolves the kernels' names, each kernel once.
func kernelColumns(names []string, g *guard.Guard) ([]column, error) {
	if len(names) == 0 {
		ks, err := vm.Kernels()
		if err != nil {
			return nil, err
		}
		for _, k := range ks {
			if k.Cached() {
				names = append(names, k.Release)
			}
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("%w: no kernel in the cache; `tcplab kernels fetch 6.1 6.12` gets Debian's, or name some with --kernels", vm.ErrMissing)
		}
	}
	cols, err := columnsOf(names, g)
	if err == nil && slices.ContainsFunc(cols, func(c column) bool { return !c.host }) {
		_, err = vm.FindEngine()
	}
	return cols, err
}

// columnsOf are the kernels of these names, each once: by what it is made of, and not by its release.
func columnsOf(names []string, g *guard.Guard) ([]column, error) {
	var out []column
	for _, name := range names {
		if name = strings.TrimSpace(name); name == "" {
			return nil, usage(explain.ValueOutOfRange, errors.New("--kernels: want names separated by commas, such as 6.1,6.12,host"))
		}
		c := column{name: name, host: name == hostKernel}
		if !c.host {
			var err error
			if c.kernel, err = vm.Find(name, g); err != nil {
				return nil, err
			}
		}
		if !slices.ContainsFunc(out, func(o column) bool { return o.host == c.host && o.kernel.Dir == c.kernel.Dir }) {
			out = append(out, c)
		}
	}
	for i, c := range out {
		out[i].apart = slices.ContainsFunc(out, func(o column) bool {
			return !c.host && o.kernel.Release == c.kernel.Release && o.kernel.Dir != c.kernel.Dir
		})
	}
	return out, nil
}

func (a *app) matrix(cmd *cobra.Command, f *matrixFlags, names []string) error {
	form, err := f.check(cmd.Flags().Changed)
	if err != nil {
		return err
	}
	f.json = form != "text" // standard output is for the document
	xs, plans, err := f.plans(cmd, names)
	if err != nil {
		return err
	}
	if f.page, err = language(f.lang); err != nil {
		return err
	}
	a.guard = guard.Start() // killed in its middle, a matrix leaves nothing
	defer a.guard.Bye()
	cols, err := kernelColumns(f.kernels, a.guard)
	if err != nil {
		return err
	}
	m := &matrixRun{app: a, flags: f, cols: cols, batches: make([]*batch, len(cols)), crews: make([]crew, len(cols)), took: map[[2]string]time.Duration{}}
	for i, x := range xs {
		m.jobs = append(m.jobs, job{x: x, plan: plans[i], n: i + 1})
	}
	if slices.ContainsFunc(cols, func(c column) bool { return c.host }) {
		if done, err := a.again(false); done {
			return err
		}
	}
	if err := m.divide(cmd.Flags().Changed("shard")); err != nil {
		return err
	}
	if len(m.jobs) == 0 {
		return m.show(m.document(), form)
	}
	if err := m.hostCan(cmd.Context()); err != nil {
		return err
	}
	return m.do(cmd.Context(), form)
}
