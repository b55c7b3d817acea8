package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/guard"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/report/page"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/sysctl"
)

// choice is which experiments with which parameters: what run, predict and their like share.
type choice struct {
	profile string
	set     []string
	params  map[string]*string
}

// flags adds the flags of every parameter in the catalogue.
func (c *choice) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.profile, "profile", "textbook", "textbook (the classic numbers), kernel (this kernel's defaults) or fast (smallest honest values)")
	cmd.Flags().StringArrayVar(&c.set, "set", nil, "set a sysctl in the lab: client.net.ipv4.tcp_sack=0; also server. and both.; may be repeated")
	c.params = map[string]*string{}
	for _, x := range experiments.All() {
		for _, q := range x.Params {
			if c.params[q.Flag] == nil {
				c.params[q.Flag] = cmd.Flags().String(q.Flag, "", q.Doc)
				if slices.Equal(slices.Sorted(slices.Values(q.Choices)), []string{"no", "yes"}) {
					cmd.Flags().Lookup(q.Flag).NoOptDefVal = "yes" // --no-keepalive alone
				}
				if len(q.Choices) > 0 {
					_ = cmd.RegisterFlagCompletionFunc(q.Flag, cobra.FixedCompletions(q.Choices, cobra.ShellCompDirectiveNoFileComp))
				}
				if slices.Contains(q.Choices, "yes") {
					cmd.Flags().Lookup(q.Flag).NoOptDefVal = "yes" // the bare flag
				}
			}
		}
	}
	_ = cmd.RegisterFlagCompletionFunc("profile", cobra.FixedCompletions([]string{"textbook", "kernel", "fast"}, cobra.ShellCompDirectiveNoFileComp))
}

// plans resolves the names and decides the parameters. Nothing is touched.
func (c *choice) plans(cmd *cobra.Command, names []string) ([]*experiments.Experiment, []experiments.Plan, error) {
	profile, err := experiments.ParseProfile(c.profile)
	if err != nil {
		return nil, nil, usage(explain.ValueOutOfRange, err)
	}
	xs, err := expand(names)
	if err != nil {
		return nil, nil, err
	}
	given, err := c.given(cmd.Flags().Changed, xs)
	if err != nil {
		return nil, nil, err
	}
	var plans []experiments.Plan
	for i, x := range xs {
		p, err := x.Plan(profile, given[i], c.set)
		if errors.Is(err, sysctl.ErrUnknown) {
			return nil, nil, usage(explain.UnknownKnob, err)
		}
		if err != nil {
			return nil, nil, usage(explain.ValueOutOfRange, err)
		}
		plans = append(plans, p)
	}
	return xs, plans, nil
}

// find resolves an experiment, with a suggestion where there is none.
func find(name string) (*experiments.Experiment, error) {
	if isFile(name) {
		return fromFile(name)
	}
	x, err := experiments.Find(name)
	var unknown *experiments.UnknownError
	if errors.As(err, &unknown) {
		if s := closest(name, unknown.Known); s != "" {
			return nil, usage(explain.UnknownExperiment, fmt.Errorf("%w; did you mean %s?", err, s))
		}
	}
	if err != nil {
		return nil, usage(explain.UnknownExperiment, err)
	}
	return x, nil
}

// someExperiment wants at least one name.
func someExperiment(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage(explain.UnknownExperiment, fmt.Errorf("%s: want the name of an experiment, such as exp1-syn-loss, or all", cmd.CommandPath()))
	}
	return nil
}

func completeExperiments(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	names := []string{all + "\tthe whole catalogue"}
	for _, x := range experiments.All() {
		names = append(names, x.Name+"\t"+x.Summary)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// runFlags are the flags of run alone.
type runFlags struct {
	choice
	out      string
	events   string
	json     bool
	dryRun   bool
	keep     bool
	repeat   int
	parallel int
	// inconclusive is what --on-inconclusive says, remake what it comes to.
	inconclusive string
	remake       remake

	timeout  time.Duration
	absolute bool
	kernel   string
	realTime bool
	evidence string
	lang     string
	shard    string
	page     page.Lang // what lang comes to
}

func (a *app) runCmd() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run EXPERIMENT... | all",
		Short: "run experiments in a lab of their own (root)",
		Long: `Run builds a client and a server in network namespaces, breaks what the experiment breaks, captures at both ends, and compares
what the kernel does with what was predicted beforehand. A unique prefix of a name will do: exp1. The name all stands for the whole
catalogue, a lab for each experiment and all of them at once: it takes little longer than the longest one. What decides nothing beside the
others is made once more, alone. A parameter that only some of several experiments have is for those.

Each run leaves a folder with result.json, events.ndjson, client.pcapng, server.pcapng, junit.xml, ladder.txt, ladder.svg and
report.html, which opens in any browser.`,
		Example: `  sudo tcplab run exp1-syn-loss --syn-retries=2
  sudo tcplab run exp1 --profile=kernel
  sudo tcplab run exp1 --profile=fast --repeat=20 --parallel=20
  sudo tcplab run all --profile=fast
  tcplab run exp1 --dry-run`,
		Args:              someExperiment,
		ValidArgsFunction: completeExperiments,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.run(cmd, f, args) },
	}
	f.flags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.out, "out", "tcplab-runs", "folder in which the folder of each run is made")
	fl.StringVar(&f.events, "events", "", "also write events while running, as NDJSON, to this file (- for standard output)")
	fl.BoolVar(&f.json, "json", false, "print the result as one JSON document and nothing else to standard output")
	fl.BoolVar(&f.dryRun, "dry-run", false, "print the ip, sysctl, iptables and tcpdump commands that do the same, and touch nothing")
	fl.BoolVar(&f.keep, "keep", false, "keep the lab after the run, until Enter or a signal, and say how to enter it")
	fl.IntVar(&f.repeat, "repeat", 1, "run each experiment this many times, 1 to 100000")
	fl.IntVar(&f.parallel, "parallel", 1, "how many labs at once, 1 to 1000 (default 1; for all: one for each experiment; with --kernel: machines, of several experiments one for each processor)")
	fl.StringVar(&f.inconclusive, "on-inconclusive", "", "what to do with a run that decided nothing: keep it; retry:N, make it again up to N times; or alone, make it once more when the others are over; every attempt is kept (default keep; of several experiments at once, alone)")
	fl.DurationVar(&f.timeout, "timeout", 0, "give a run up this long after its first packet (default: a little longer than predicted)")
	fl.StringVar(&f.kernel, "kernel", "", "boot this kernel in a virtual machine and run there, in virtual time (no root): 6.1, a release, or a path")
	fl.BoolVar(&f.realTime, "real-time", false, "with --kernel: let the machine's clock run with this one's")
	fl.StringVar(&f.evidence, "evidence", "auto", "the kernel's own account, by eBPF and counters: auto (where this machine and user can) or off")
	_ = cmd.RegisterFlagCompletionFunc("evidence", cobra.FixedCompletions([]string{"auto", "off"}, cobra.ShellCompDirectiveNoFileComp))
	fl.BoolVar(&f.absolute, "absolute-seq", false, "show sequence numbers as they are on the wire, not relative to the initial ones")
	shardFlag(cmd, &f.shard, "runs")
	langFlag(cmd, &f.lang)
	_ = cmd.MarkFlagDirname("out")
	return cmd
}

// check refuses what cannot be meant, before anything is touched.
func (f *runFlags) check(timeoutGiven bool, experiments int) error {
	switch {
	case f.repeat < 1 || f.repeat > 100000:
		return usage(explain.ValueOutOfRange, fmt.Errorf("--repeat=%d: want 1 to 100000", f.repeat))
	case f.parallel < 1 || f.parallel > 1000:
		return usage(explain.ValueOutOfRange, fmt.Errorf("--parallel=%d: want 1 to 1000", f.parallel))
	case f.evidence != "auto" && f.evidence != "off":
		return usage(explain.ValueOutOfRange, fmt.Errorf("--evidence=%s: want auto or off", f.evidence))
	case f.timeout < 0 || timeoutGiven && f.timeout == 0:
		return usage(explain.ValueOutOfRange, fmt.Errorf("--timeout=%v: want a positive time, such as 30s", f.timeout))
	case f.inconclusive != "" && f.inconclusive != keepOpen && (f.keep || f.kernel != ""):
		return usage(explain.ValueOutOfRange, errors.New("--on-inconclusive is for runs on this machine whose lab goes at once: leave --keep and --kernel away"))
	case f.json && f.events == "-":
		return usage(explain.ValueOutOfRange, errors.New("--json and --events=- both want standard output; give --events a file"))
	case f.json && f.dryRun:
		return usage(explain.ValueOutOfRange, errors.New("--dry-run prints shell commands: leave --json away"))
	case f.realTime && f.kernel == "":
		return usage(explain.ValueOutOfRange, errors.New("--real-time is for a machine that --kernel boots"))
	case f.kernel != "" && f.keep:
		return usage(explain.ValueOutOfRange, errors.New("--kernel makes its runs in a machine, and the lab goes with it: leave --keep away"))
	case f.keep && (f.repeat > 1 || f.parallel > 1 || experiments > 1):
		return usage(explain.ValueOutOfRange, errors.New("--keep holds one lab: name one experiment, and leave --repeat and --parallel away"))
	}
	return nil
}

// atOnce is how many labs, or machines, are at work at once where nobody said.
func (f *runFlags) atOnce(names []string, experiments int) int {
	switch {
	case f.kernel != "":
		return machines(experiments)
	case slices.Contains(names, all):
		return experiments
	}
	return f.parallel
}

func (a *app) run(cmd *cobra.Command, f *runFlags, names []string) error {
	if err := f.check(cmd.Flags().Changed("timeout"), 1); err != nil {
		return err
	}
	xs, plans, err := f.plans(cmd, names)
	if err != nil {
		return err
	}
	if f.page, err = language(f.lang); err != nil {
		return err
	}
	if err := f.check(cmd.Flags().Changed("timeout"), len(xs)); err != nil {
		return err
	}
	if !cmd.Flags().Changed("parallel") {
		f.parallel = f.atOnce(names, len(xs))
	}
	if f.remake, err = remakes(f.inconclusive, f.kernel == "" && f.parallel > 1 && len(xs) > 1); err != nil {
		return err
	}
	s, err := findShard(f.shard, cmd.Flags().Changed("shard"), os.Getenv)
	if err != nil {
		return err
	}
	jobs := list(xs, plans, f.repeat)
	if f.dryRun {
		return a.byHand(s.take(jobs))
	}
	if done, err := a.again(f.kernel != ""); done {
		return err
	}
	a.guard = guard.Start()
	defer a.guard.Bye()
	events, closeEvents, err := a.openEvents(f.events)
	if err != nil {
		return err
	}
	defer closeEvents()
	jobs, part := a.part(s, jobs, "runs", f.settings())
	b := &batch{app: a, flags: f, jobs: jobs, events: events, took: make([]time.Duration, len(jobs)), part: part != nil}
	if len(jobs) == 0 {
		return b.finish() // more parts than runs
	}
	carryOut := b.do
	if f.kernel != "" {
		carryOut = b.boot
	} else {
		if len(jobs) > 1 {
			b.took = estimate(jobs)
		}
		b.announce()
	}
	if err := carryOut(cmd.Context()); err != nil {
		a.partial = slices.DeleteFunc(b.results, func(r *result.Result) bool { return r == nil })
		return err
	}
	return b.finish()
}

// settings are what runs share besides their parameters, and what their verdicts may depend on.
func (f *runFlags) settings() []string {
	return []string{f.kernel, strconv.FormatBool(f.realTime), f.timeout.String(), f.evidence}
}

// list is the runs that are asked for, in their order.
func list(xs []*experiments.Experiment, plans []experiments.Plan, repeat int) (jobs []job) {
	for i, x := range xs {
		for range repeat {
			jobs = append(jobs, job{x: x, plan: plans[i], n: len(jobs) + 1, folder: &folderName{}})
		}
	}
	return jobs
}

// byHand prints the script of each experiment among the jobs.
func (a *app) byHand(jobs []job) error {
	for i, j := range jobs {
		if i > 0 && j.x == jobs[i-1].x {
			continue
		}
		if _, err := fmt.Fprintf(a.out, "# %s by hand (needs root; touches nothing now)\n%s\n", j.x.Name, strings.Join(j.x.Script(j.plan), "\n")); err != nil {
			return err
		}
	}
	return nil
}

// finish prints what belongs to all runs together and sets the exit code: the worst of them.
func (b *batch) finish() error {
	a := b.app
	codes := []int{a.code} // something that was left behind, or 0
	done := slices.DeleteFunc(slices.Clone(b.results), func(r *result.Result) bool { return r == nil })
	for _, r := range done {
		codes = append(codes, r.Verdict.ExitCode())
	}
	failures := b.failures()
	for _, f := range failures {
		codes = append(codes, f.Exit)
	}
	a.code = explain.Worst(codes...)
	out := a.out
	if b.flags.json {
		out = a.err
	}
	if b.several() {
		fmt.Fprintln(out)
		a.lost(b.table(out, a.style(out)))
	}
	if b.flags.json {
		return b.finishJSON(done, failures)
	}
	if len(b.jobs) > 1 {
		if b.several() {
			fmt.Fprintln(out)
		}
		text := summary(done, len(failures))
		if b.again > 0 {
			text += fmt.Sprintf("; %d inconclusive attempts were made again, and are kept", b.again)
		}
		_, err := fmt.Fprintln(a.out, a.plain(text))
		return err
	}
	return a.unprinted
}

// finishJSON prints the one document: a result, or all of them.
func (b *batch) finishJSON(done []*result.Result, failures []failedDocument) error {
	if len(b.jobs) == 1 && !b.part { // a part is of several runs, whatever there is of it
		return report.JSON(b.app.out, done[0])
	}
	doc := map[string]any{"schema": "tcplab.results/v1", "results": append([]*result.Result{}, done...)} // an empty part has [], not null
	if len(failures) > 0 {
		doc["errors"] = failures
	}
	return writeJSON(b.app.out, doc)
}

// summary is one line about many runs: verdicts, and how far the kernel was from the predicted ticks.
func summary(rs []*result.Result, failures int) string {
	count := map[result.Verdict]int{}
	var off []time.Duration
	for _, r := range rs {
		count[r.Verdict]++
		for _, e := range r.Events {
			if t := e.AfterTick(); t != nil {
				off = append(off, t.Duration())
			}
		}
	}
	s := fmt.Sprintf("%d runs: %d pass, %d fail, %d inconclusive", len(rs)+failures, count[result.Pass], count[result.Fail], count[result.Inconclusive])
	if n := count[result.Error] + count[result.Unable] + count[result.Skip] + failures; n > 0 {
		s += fmt.Sprintf(", %d other", n)
	}
	if len(off) > 0 {
		sort.Slice(off, func(i, j int) bool { return off[i] < off[j] })
		s += fmt.Sprintf("; after the predicted tick: median %d µs, p99 %d µs, max %d µs (%d packets)", off[len(off)/2].Microseconds(),
			off[len(off)*99/100].Microseconds(), slices.Max(off).Microseconds(), len(off))
	}
	return s
}

// interrupted reports the signal that ended the context, if one did.
func interrupted(ctx context.Context) error {
	var sig *signalError
	if errors.As(context.Cause(ctx), &sig) {
		return sig
	}
	return ctx.Err()
}
