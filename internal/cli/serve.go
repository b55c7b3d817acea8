package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/guard"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/report/page"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/internal/web"
)

// defaultPort is where serve listens unless it is told otherwise.
const defaultPort = 7351

func (a *app) serveCmd() *cobra.Command {
	var out, lang string
	var port int
	var allow bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "show stored runs, and one that goes on, in the browser of this machine",
		Long: `Serve shows the runs of a folder in a browser: the list with its verdicts, each run's report, two runs side by side, and a run that goes
on, live, whether it was started here or by tcplab run in another terminal. A matrix is in the list too: its page is the one that report
makes, and each cell leads to its run. Serve predicts what an experiment will do for any value of its parameters, and with --allow-run it
starts the run too.

It listens on 127.0.0.1 alone, and answers only a browser that opened the address that it prints: that has a token, new in each process. It
ends with Ctrl-C; a run that it started is taken down first. From another machine: ssh -L 7351:127.0.0.1:7351 HOST.`,
		Example: `  tcplab serve
  sudo tcplab serve --allow-run
  tcplab serve --out old-runs --port=0`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if port < 0 || port > 65535 {
				return usage(explain.ValueOutOfRange, fmt.Errorf("--port=%d: want 0 to 65535", port))
			}
			l, err := language(lang)
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), port, out, l, allow)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&out, "out", "tcplab-runs", "folder with the folders of the runs; new ones are made there too")
	fl.IntVar(&port, "port", defaultPort, "port on 127.0.0.1; 0: any that is free")
	fl.BoolVar(&allow, "allow-run", false, "let the page start runs and stop them")
	langFlag(cmd, &lang)
	_ = cmd.MarkFlagDirname("out")
	return cmd
}

func (a *app) serve(ctx context.Context, port int, out string, lang page.Lang, allow bool) error {
	if st, err := os.Stat(out); err == nil && !st.IsDir() {
		return usage(explain.InvalidFile, fmt.Errorf("--out %s: want a folder", out))
	}
	b := &bench{out: out, lang: lang}
	if allow {
		a.guard = guard.Start()
		defer a.guard.Bye()
		b.guard = a.guard
	}
	s, err := web.New(port, web.Options{Dir: out, Lang: lang, Catalogue: catalogueOf(), Kernels: kernelNames(), Lab: b, AllowRun: allow, Diff: diffForWeb})
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return usage(explain.ValueOutOfRange, fmt.Errorf("--port=%d: something else listens there, perhaps another tcplab serve; --port=0 takes a port that is free", port))
	case err != nil:
		return usage(explain.ValueOutOfRange, fmt.Errorf("--port=%d: %w", port, err))
	}
	if _, err := fmt.Fprintln(a.out, s.URL()); err != nil {
		return err
	}
	fmt.Fprintf(a.err, "%s: open the address above in a browser of this machine; Ctrl-C ends it\n", report.Clean(out))
	if allow && os.Geteuid() != 0 {
		fmt.Fprintln(a.err, "without root the page can start runs on kernels that it boots (tcplab kernels list), not on this machine's")
	}
	if err := s.Serve(ctx); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return interrupted(ctx)
}

// kernelNames are the kernels that can be booted, where a machine can be.
func kernelNames() []string {
	if _, err := vm.FindEngine(); err != nil {
		return nil
	}
	ks, err := vm.Kernels()
	if err != nil {
		return nil
	}
	var out []string
	for _, k := range slices.Backward(ks) {
		if k.Problem == "" {
			out = append(out, k.Release)
		}
	}
	return out
}

// catalogueOf is the catalogue as the page's forms show it.
func catalogueOf() []web.Experiment {
	var out []web.Experiment
	for _, x := range experiments.All() {
		e := web.Experiment{Name: x.Name, Summary: x.Summary, Question: x.Question}
		for _, q := range x.Params {
			p := web.Param{Flag: q.Flag, Doc: q.Doc, Takes: q.Takes(), Under: map[string]string{}}
			if q.Sysctl == "" && q.Kind == experiments.Choice {
				p.Choices = q.Choices
			}
			for _, f := range experiments.Profiles() {
				p.Under[string(f)] = q.Under(f)
			}
			e.Params = append(e.Params, p)
		}
		out = append(out, e)
	}
	return out
}

// diffForWeb is what `tcplab diff` says of two runs.
func diffForWeb(one, other *result.Result) (result.Difference, error) {
	d, err := diffRuns(one, other)
	return d.Difference, err
}

// bench carries out what the page asks for, in the way of run and predict.
type bench struct {
	out   string
	lang  page.Lang
	guard *guard.Guard // of runs; nil where none are made
}

// plan decides the parameters of a request. Nothing is touched.
func (b *bench) plan(q web.Request) (*experiments.Experiment, experiments.Plan, error) {
	x, err := experiments.Find(q.Experiment)
	if err != nil {
		return nil, experiments.Plan{}, err
	}
	profile, err := experiments.ParseProfile(q.Profile)
	if err != nil {
		return nil, experiments.Plan{}, err
	}
	p, err := x.Plan(profile, q.Values, nil)
	return x, p, err
}

// Check tries each value by itself, so that each has its own reason, and then all of them.
func (b *bench) Check(q web.Request) map[string]string {
	why := map[string]string{}
	for flag, value := range q.Values {
		one := q
		one.Values = map[string]string{flag: value}
		if _, _, err := b.plan(one); err != nil {
			why[flag] = err.Error()
		}
	}
	if len(why) == 0 {
		if _, _, err := b.plan(q); err != nil {
			why[""] = err.Error()
		}
	}
	return why
}

// Predict predicts for this machine's kernel, or for the one that is to be booted: Debian's, with HZ=250.
func (b *bench) Predict(q web.Request) (*result.Prediction, error) {
	x, plan, err := b.plan(q)
	if err != nil {
		return nil, err
	}
	version, hz := "", 0
	if q.Kernel != "" {
		version, hz = q.Kernel, debianHZ
	}
	facts, err := model(version, hz)
	if err != nil {
		return nil, err
	}
	e, err := runner.Env(x, plan, facts)
	if err != nil {
		return nil, err
	}
	return runner.Predict(x, plan, e)
}

// Command is the command line that does the same.
func (b *bench) Command(q web.Request) string {
	var words []string
	if q.Kernel == "" {
		words = append(words, "sudo")
	}
	for _, w := range b.words(q) {
		words = append(words, report.Quote(w))
	}
	return strings.Join(words, " ")
}

func (b *bench) words(q web.Request) []string {
	words := []string{"tcplab", "run", q.Experiment}
	if q.Profile != string(experiments.Textbook) {
		words = append(words, "--profile="+q.Profile)
	}
	for _, flag := range slices.Sorted(maps.Keys(q.Values)) {
		words = append(words, "--"+flag+"="+q.Values[flag])
	}
	if q.Kernel != "" {
		words = append(words, "--kernel="+q.Kernel)
	}
	return words
}

// Run makes a run as `tcplab run` does, without a terminal. A run that is judged is no error, whatever its verdict.
func (b *bench) Run(ctx context.Context, q web.Request, begun func(string)) error {
	x, plan, err := b.plan(q)
	if err != nil {
		return err
	}
	quiet := &app{out: io.Discard, err: io.Discard, guard: b.guard}
	f := &runFlags{out: b.out, repeat: 1, parallel: 1, evidence: "auto", kernel: q.Kernel, page: b.lang}
	r := &batch{app: quiet, flags: f, jobs: []job{{x: x, plan: plan, n: 1}}, took: nil, command: b.words(q)}
	r.place = func(j job) (*folder, error) {
		f, err := makeFolder(r.way, j.x.Name)
		if err == nil {
			begun(f.name)
		}
		return f, err
	}
	if q.Kernel != "" {
		return r.boot(ctx)
	}
	return r.do(ctx)
}
