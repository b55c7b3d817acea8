package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/tcplab/tcplab/internal/guard"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/vm"
)

// fleet boots machines, so many at once, and counts what they took.
type fleet struct {
	app   *app
	slots chan struct{} // as many as may run at once

	mu sync.Mutex
}

func newFleet(a *app, atOnce int) *fleet { return &fleet{app: a, slots: make(chan struct{}, atOnce)} }

// crew is the machines of one kernel, and what they took at most.
type crew struct {
	kernel   vm.Kernel
	machines int
	stats    vm.Stats
}

// boot makes the runs on another kernel, in machines of their own: each boots once for its share of the runs and makes them one after
// the other.
func (b *batch) boot(ctx context.Context) (err error) {
	b.way = newWay(b.app.guard, b.flags.out)
	defer func() { err = keepMade(b.way, err) }()
	b.results = make([]*result.Result, len(b.jobs))
	k, err := vm.Find(b.flags.kernel, b.app.guard)
	if err != nil {
		return err
	}
	f := newFleet(b.app, b.flags.parallel)
	_, err = f.run(ctx, b, k, b.flags.parallel)
	return err
}

// run makes the runs of a batch in at most so many machines. A machine that ends takes its own runs with it and no others: those are
// noted as failed. An error is returned where nothing at all was done.
func (f *fleet) run(ctx context.Context, b *batch, k vm.Kernel, machines int) (crew, error) {
	for _, r := range remarksOn(k) {
		f.note("Linux %s: %s\n", nameOf(k), f.app.plain(r))
	}
	f.note("booting Linux %s in %s%s\n", nameOf(k), b.flags.timeOf(), inMachines(min(machines, len(b.jobs))))
	var booted *vm.Booted
	var unbooted error
	var wg sync.WaitGroup
	wg.Go(func() { booted, unbooted = f.boot(ctx, b, k) })
	ahead := lookAhead(k, factsOf(k), b)
	tasks, err := b.tasks(k, ahead, share(b.jobs, weights(b.jobs, ahead.of(b.jobs)), machines))
	c := crew{kernel: k, machines: len(tasks)}
	wg.Wait()
	if booted != nil {
		defer booted.Close()
	}
	if err = cmp.Or(err, unbooted); err != nil {
		(&inbox{b: b, jobs: b.jobs}).unmade(err)
	}
	if ctx.Err() != nil {
		return c, interrupted(ctx)
	}
	if err != nil {
		return c, err
	}
	errs := make([]error, len(tasks))
	for i, w := range tasks {
		wg.Go(func() {
			if errs[i] = f.slot(ctx); errs[i] != nil {
				return
			}
			defer func() { <-f.slots }()
			var s vm.Stats
			if s, errs[i] = f.one(ctx, b, booted, w); errs[i] == nil {
				f.mu.Lock()
				defer f.mu.Unlock()
				c.stats = vm.Stats{Boot: max(c.stats.Boot, s.Boot), Wall: max(c.stats.Wall, s.Wall), Peak: max(c.stats.Peak, s.Peak)}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		if ctx.Err() != nil {
			return c, interrupted(ctx)
		}
		if slices.IndexFunc(b.results, func(r *result.Result) bool { return r != nil }) < 0 {
			return c, errs[slices.IndexFunc(errs, func(err error) bool { return err != nil })]
		}
	}
	if len(b.jobs) == 1 && len(b.failed) == 1 {
		return c, b.failed[0].err
	}
	return c, nil
}

// slot waits until one more machine may run.
func (f *fleet) slot(ctx context.Context) error {
	select {
	case f.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// boot boots what all machines of a batch go on from, or takes it from the cache. Nil: in real time each boots by itself.
func (f *fleet) boot(ctx context.Context, b *batch, k vm.Kernel) (*vm.Booted, error) {
	if b.flags.realTime {
		return nil, nil
	}
	if err := f.slot(ctx); err != nil {
		return nil, err
	}
	defer func() { <-f.slots }()
	o := b.guest(k)
	o.Wall = wallBoot
	booted, err := vm.Boot(ctx, o)
	if err == nil && booted.Took > 0 {
		kept := "kept for the next time"
		if booted.Unkept != nil {
			kept = fmt.Sprintf("not kept for the next time: %v", booted.Unkept)
		}
		f.note("Linux %s: booted in %.1f s, and %s\n", nameOf(k), booted.Took.Seconds(), kept)
	}
	return booted, err
}

// one makes the runs of one machine. What it did not come to is noted.
func (f *fleet) one(ctx context.Context, b *batch, booted *vm.Booted, w task) (vm.Stats, error) {
	in := &inbox{b: b, jobs: w.jobs, folders: map[int]*folder{}, began: map[int]time.Time{}}
	defer in.discard()
	w.machine.Booted = booted
	s, err := vm.Run(ctx, w.machine, in.receive)
	if err != nil {
		in.unmade(err)
		return s, err
	}
	f.note("Linux %s: up after %.1f s, done after %.1f s, %d MB of memory at most\n", nameOf(w.machine.Kernel), s.Boot.Seconds(), s.Wall.Seconds(), s.Peak>>20)
	return s, nil
}

func (f *fleet) note(format string, args ...any) {
	f.app.mu.Lock() // as everything that is told of runs, so that lines do not mix
	defer f.app.mu.Unlock()
	fmt.Fprintf(f.app.err, format, args...)
}

func inMachines(n int) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf(", %d machines", n)
}

// machines is how many machines are booted at once where nobody said: one for each processor.
func machines(jobs int) int { return max(1, min(runtime.NumCPU(), jobs)) }

// share divides the runs among machines: the heaviest first, each to the machine that has the least to do. It depends on nothing but its
// arguments, and a machine makes its runs in the order of the catalogue: the same command leaves the same bytes.
func share(jobs []job, weight []time.Duration, machines int) [][]job {
	sorted := slices.Clone(jobs)
	slices.SortStableFunc(sorted, func(a, b job) int { return cmp.Compare(weight[b.n-1], weight[a.n-1]) })
	parts := make([][]job, min(machines, len(jobs)))
	load := make([]time.Duration, len(parts))
	for _, j := range sorted {
		least := 0
		for i := range load {
			if load[i] < load[least] {
				least = i
			}
		}
		parts[least] = append(parts[least], j)
		load[least] += weight[j.n-1]
	}
	for _, p := range parts {
		slices.SortFunc(p, func(a, b job) int { return cmp.Compare(a.n, b.n) })
	}
	return parts
}

// What a run costs the processor in a guest, from measurements of the whole catalogue on 6.1 and 6.12: a lab, each server with its clients (their
// processes and rules), each event, each hour in which hardly anything happens. Only the proportions matter, and only to how well the runs are divided.
const (
	guestLab    = 400 * time.Millisecond
	guestServer = 300 * time.Millisecond
	guestEvent  = 12 * time.Millisecond
	guestHour   = 150 * time.Millisecond
)

// weights are about how long a guest works at each run. A prediction is nil where none can be made.
func weights(jobs []job, predictions []*result.Prediction) []time.Duration {
	out := make([]time.Duration, len(jobs))
	for i, j := range jobs {
		out[i] = guestLab + time.Duration(len(j.x.Setup(j.plan.Options).Listen))*guestServer
		if p := predictions[i]; p != nil {
			out[i] += time.Duration(len(p.Events))*guestEvent + time.Duration(float64(guestHour)*report.Estimate(p).Hours())
		}
	}
	return out
}

// foresight is what is known of the runs of one kernel before its machines are booted: what divides the runs, bounds the machines, and is handed to them.
type foresight struct {
	runs  []runner.Foresight // by the numbers of the jobs, from 0
	types []byte             // nil: no evidence is wanted, or they cannot be had
}

// lookAhead predicts all runs of a batch, once.
func lookAhead(k vm.Kernel, facts *kernel.Facts, b *batch) foresight {
	f := foresight{runs: make([]runner.Foresight, len(b.jobs))}
	var wg sync.WaitGroup
	if b.flags.evidence != "off" {
		wg.Go(func() { f.types = typesOf(k, b.app.guard) })
	}
	if facts != nil {
		var wanted []runner.Wanted
		for _, j := range b.jobs {
			wanted = append(wanted, runner.Wanted{Experiment: j.x, Plan: j.plan})
		}
		f.runs = runner.Foresee(*facts, wanted)
	}
	wg.Wait()
	return f
}

// of are the predictions of some of the runs; nil where one cannot be made.
func (f foresight) of(jobs []job) []*result.Prediction {
	out := make([]*result.Prediction, len(jobs))
	for i, j := range jobs {
		out[i] = f.runs[j.n-1].Prediction
	}
	return out
}

// debianHZ is CONFIG_HZ of Debian's kernels.
const debianHZ = 250

// nameOf tells a kernel from others of its release.
func nameOf(k vm.Kernel) string {
	if k.ID != "" {
		return k.Release + " (" + k.ShortID() + ")"
	}
	return k.Release
}

// remarksOn are what is to be known of a kernel before it is booted.
func remarksOn(k vm.Kernel) []string {
	out := slices.Clone(k.Remarks)
	if k.HZ == 0 && k.ID != "" {
		out = append(out, fmt.Sprintf("its CONFIG_HZ is not known (it carries no configuration, and there is no config-%s beside it): %d is assumed until it has booted and says it", k.Release, debianHZ))
	}
	return out
}

// factsOf are those of a kernel that is not running, by its version. One that differs otherwise asks other questions than were foreseen and works them
// out itself, as does one whose HZ is not known and is not Debian's. Nil: not known.
func factsOf(k vm.Kernel) *kernel.Facts {
	v, err := kernel.ParseVersion(k.Release)
	if err != nil {
		return nil
	}
	facts, err := kernel.Model(v, cmp.Or(k.HZ, debianHZ))
	if err != nil {
		return nil
	}
	return &facts
}

// guest is what is booted for all of the runs. Its program is the one that runs here, also where another has taken its name meanwhile, or nothing has it.
func (b *batch) guest(k vm.Kernel) vm.Options {
	ipv6 := slices.ContainsFunc(b.jobs, func(j job) bool { return j.x.Setup(j.plan.Options).IPv6 })
	return vm.Options{Kernel: k, Program: "/proc/self/exe", IPv6: ipv6, RealTime: b.flags.realTime, Guard: b.app.guard}
}

// task is what one machine is to do.
type task struct {
	jobs    []job
	machine vm.Options
}

// tasks are those of machines that share the runs in these parts. What is more than a guest can be asked at once is for several of them.
func (b *batch) tasks(k vm.Kernel, ahead foresight, parts [][]job) (all []task, err error) {
	for len(parts) > 0 {
		jobs := parts[0]
		o, err := b.machine(k, ahead, jobs)
		if err != nil {
			return nil, err
		}
		if n := len(jobs); len(o.Request) > vm.MostRequest && n > 1 {
			parts = slices.Insert(parts[1:], 0, jobs[:n/2], jobs[n/2:])
			continue
		}
		all, parts = append(all, task{jobs, o}), parts[1:]
	}
	return all, nil
}

// machine is what makes some of the runs.
func (b *batch) machine(k vm.Kernel, ahead foresight, jobs []job) (vm.Options, error) {
	o := b.guest(k)
	q := guestRequest{Tool: result.Tool{Name: "tcplab", Version: version}, Command: b.commandLine(), Timeout: b.flags.timeout, Virtual: !b.flags.realTime,
		NoEvidence: b.flags.evidence == "off", Types: ahead.types, Foreseen: runner.Foreseen{}}
	for _, j := range jobs {
		q.Runs = append(q.Runs, guestRun{j.x.Name, j.x.Source, j.plan, j.part})
		maps.Copy(q.Foreseen, ahead.runs[j.n-1].Answers)
	}
	var err error
	if o.Request, err = json.Marshal(q); err != nil {
		return o, err
	}
	o.Silence, o.Virtual, o.Wall = deadlines(ahead.of(jobs), b.flags.timeout, b.flags.realTime)
	return o, nil
}

// typesOf is what the guest needs of its kernel's BTF. Nil where it cannot be had: the guest looks for itself, and says what is wrong.
func typesOf(k vm.Kernel, g *guard.Guard) []byte {
	f, err := k.Open(g)
	if err != nil {
		return nil
	}
	defer f.Close()
	types, err := runner.KernelTypes(f)
	if err != nil {
		return nil
	}
	return types
}

// Deadlines of a guest that is in order are never met, on a machine ten times as slow as ours and as busy. One that hangs is met by the
// first of them.
const (
	wallBoot    = 4 * time.Minute // until the program runs, and for each run besides what it waits
	wallHour    = 30 * time.Second
	virtualRun  = 10 * time.Minute // for each run besides what is predicted
	virtualSlow = 2                // times the prediction
)

// deadlines are those of a machine with some runs: how long it may say nothing, how long its clock and ours may go on in all. A run goes on until its
// timeout where the kernel does not do what was predicted; 0: none was given.
func deadlines(ps []*result.Prediction, timeout time.Duration, realTime bool) (silence, virtual, wall time.Duration) {
	wall = wallBoot
	silence = wallBoot
	for _, p := range ps {
		lasts := vm.DefaultVirtual // not known
		if p != nil {
			lasts = virtualSlow*report.Estimate(p) + virtualRun
		}
		lasts = max(lasts, sum(timeout, virtualRun))
		quiet := wallBoot + time.Duration(float64(wallHour)*lasts.Hours())
		if realTime {
			quiet = sum(quiet, lasts)
		}
		silence, virtual, wall = max(silence, quiet), sum(virtual, lasts), sum(wall, quiet)
	}
	return silence, virtual, wall
}

// longest is as good as for ever, and can be added to a moment of now.
const longest = 100 * 365 * 24 * time.Hour

// sum is a + b, or the longest time.
func sum(a, b time.Duration) time.Duration { return min(a, longest) + min(b, longest-min(a, longest)) }
