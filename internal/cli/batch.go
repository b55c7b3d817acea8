package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/live"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/report/page"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/lab"
)

// job is one run to be made.
type job struct {
	x    *experiments.Experiment
	plan experiments.Plan
	n    int           // from 1
	part *result.Shard // of a list that several processes share; nil: all of it is this process's

	earlier []result.Attempt // of this job, those that decided nothing
	folder  *folderName      // of the newest attempt
}

// folderName is where an attempt's files are.
type folderName struct{ name string }

// keepName notes the folder of an attempt. A job that is never made again has no place for it.
func (j job) keepName(name string) {
	if j.folder != nil {
		j.folder.name = name
	}
}

// batch makes runs, one after the other or several at once.
type batch struct {
	app    *app
	flags  *runFlags
	jobs   []job
	part   bool // jobs are a part of a list
	events io.Writer
	took   []time.Duration // how long each job's experiment takes, by its prediction; 0: not known
	// done is told of each run that has a result, instead of the user, with the wall time that it took. Nil: the user.
	done func(j job, r *result.Result, took time.Duration)
	way  *way // to flags.out
	// place makes the folder of a run. Nil: one with the time in its name, in flags.out.
	place func(j job) (*folder, error)
	// command is what a result calls its command line. Nil: this process's own.
	command []string

	mu      sync.Mutex
	results []*result.Result // in the order of jobs; nil where there is none
	again   int              // attempts that were made after one that decided nothing
	failed  []failed         // of several experiments, those that could not be carried out
}

// do makes the runs, the longest first. The first error ends those of one experiment: what ran already is not reported, because the
// machine cannot run the rest. Of several experiments the others go on.
func (b *batch) do(ctx context.Context) (err error) {
	b.way = newWay(b.app.guard, b.flags.out)
	defer func() { err = keepMade(b.way, err) }()
	b.results = make([]*result.Result, len(b.jobs))
	if len(b.jobs) == 1 && b.done == nil {
		return b.untilDecided(ctx, b.jobs[0], b.watchLive)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, b.flags.parallel)
	apart := time.NewTicker(stagger)
	defer apart.Stop()
	var wg sync.WaitGroup
	for i, j := range order(b.jobs, b.took) {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if i > 0 && b.several() && b.flags.parallel > 1 {
			select {
			case <-apart.C:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := b.untilDecided(ctx, j, b.watchQuiet); err != nil && !b.keepOn(ctx, j, err) {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil || !b.flags.remake.alone {
		return err
	}
	return b.makeAlone(ctx)
}

func (b *batch) folder(j job) (*folder, error) {
	if b.place != nil {
		return b.place(j)
	}
	return makeFolder(b.way, j.x.Name)
}

// watcher is a runner.Watcher with what is done around the run.
type watcher interface {
	runner.Watcher
	// end prints what follows the run; r is nil where it failed.
	end(r *result.Result, dir string)
}

// one makes one run with its folder.
func (b *batch) one(ctx context.Context, j job, watch func(job) watcher) (err error) {
	folder, err := b.folder(j)
	if err != nil {
		return err
	}
	defer func() { err = b.keep(j, folder, err) }()
	stream, err := folder.create("events.ndjson")
	if err != nil {
		return err
	}
	events := io.Writer(stream)
	if b.events != nil {
		events = io.MultiWriter(stream, b.events)
	}
	w, ended := watch(j), false
	var res *result.Result
	defer func() { // also on a panic: the terminal gets its cursor back
		path := folder.path
		if err != nil {
			path = "" // the folder goes
		}
		if !ended {
			w.end(res, path)
		}
	}()
	var keep func(*result.Result, runner.Namespaces)
	if b.flags.keep {
		keep = func(r *result.Result, n runner.Namespaces) {
			ended = true
			b.app.lost(folder.pictures(r, b.flags.page))
			w.end(r, folder.path)
			b.app.hold(ctx, n)
		}
	}
	res, err = runner.Run(ctx, runner.Options{
		Experiment: j.x, Plan: j.plan, Timeout: b.flags.timeout, Tool: result.Tool{Name: "tcplab", Version: version},
		Command: b.commandLine(), Shard: j.part, Watch: w, Dir: folder.root, Events: events, Keep: keep, NoEvidence: b.flags.evidence == "off", Earlier: j.earlier,
		Chinese: page.Translate,
	})
	if cerr := stream.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("write %s/events.ndjson: %w", folder.path, cerr)
	}
	if ctx.Err() != nil && res == nil {
		return interrupted(ctx)
	}
	if perr := folder.pictures(res, b.flags.page); err == nil {
		err = perr
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.results[j.n-1] = res // nil after most errors
	if err != nil && !errors.Is(err, lab.ErrLeftBehind) {
		return err
	}
	if err != nil { // the run is whole and its files are kept, but something of its lab is not gone
		b.app.grave(err)
	}
	return nil
}

// keep ends the use of a run's folder. A run whose files are lost has no result.
func (b *batch) keep(j job, f *folder, failed error) error {
	j.keepName(f.name)
	err := f.done(failed)
	if err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.results[j.n-1] = nil
	}
	return err
}

// commandLine is what a result calls its command line.
func (b *batch) commandLine() []string {
	if b.command != nil {
		return b.command
	}
	return os.Args
}

// liveWatch shows one run while it goes on.
type liveWatch struct {
	b      *batch
	style  report.Style
	region *live.Region
	text   io.Writer // where the finished lines go, when not above the region
}

// watchLive shows a single run. With --json the text goes to standard error; off a terminal the finished lines go to standard output
// and the waiting is shown on standard error.
func (b *batch) watchLive(job) watcher {
	a := b.app
	target := a.out
	if b.flags.json || b.flags.events == "-" {
		target = a.err
	}
	w := &liveWatch{b: b, style: a.style(target)}
	w.style.AbsoluteSeq = b.flags.absolute
	if isTTY(target) {
		w.region = live.New(target, live.Options{TTY: true, Color: w.style.Color, ASCII: w.style.ASCII})
	} else {
		w.text = target
		w.region = live.New(a.err, live.Options{TTY: isTTY(a.err), Color: a.style(a.err).Color, ASCII: a.ascii})
	}
	return w
}

// print prints finished lines.
func (w *liveWatch) print(fill func(io.Writer) error) {
	var s lines
	if err := fill(&s); err != nil {
		return
	}
	if w.text != nil {
		_, err := fmt.Fprintln(w.text, s.String())
		w.b.app.lost(err)
		return
	}
	w.region.Line(s.String())
}

// Ready prints the head.
func (w *liveWatch) Ready(r *result.Result) {
	w.print(func(out io.Writer) error { return report.Head(out, r, w.style, 0) })
	w.print(func(io.Writer) error { return nil }) // an empty line
	w.region.Set(live.Status{Next: "SYN"})
}

// Event prints one line of the ladder.
func (w *liveWatch) Event(r *result.Result, e result.Event, state string) {
	w.print(func(out io.Writer) error { return report.LadderLine(out, r, e, state, w.style) })
}

// Status shows what is awaited.
func (w *liveWatch) Status(s runner.Status) { w.region.Set(liveStatus(s)) }

// end prints what follows the ladder.
func (w *liveWatch) end(r *result.Result, dir string) {
	w.region.Set(live.Status{})
	if r != nil && !w.b.flags.json {
		w.style.Dir, w.style.Page = dir, pageFile
		w.print(func(out io.Writer) error { return report.Tail(out, r, w.style) })
	}
	_ = w.region.Close()
}

// quietWatch prints a verdict line for each of many runs.
type quietWatch struct {
	b     *batch
	j     job
	began time.Time
}

func (b *batch) watchQuiet(j job) watcher { return &quietWatch{b, j, time.Now()} }

// Ready, Event and Status say nothing: there are many runs.
func (w *quietWatch) Ready(*result.Result) {}

// Event says nothing.
func (w *quietWatch) Event(*result.Result, result.Event, string) {}

// Status says nothing.
func (w *quietWatch) Status(runner.Status) {}

func (w *quietWatch) end(r *result.Result, dir string) {
	if r == nil {
		return
	}
	if w.b.done != nil {
		w.b.done(w.j, r, time.Since(w.began))
		return
	}
	w.b.app.mu.Lock()
	defer w.b.app.mu.Unlock()
	out := w.b.app.out
	if w.b.flags.json || w.b.flags.events == "-" {
		out = w.b.app.err
	}
	s := w.b.app.style(out)
	fmt.Fprintf(out, "%*d/%d  ", len(fmt.Sprint(len(w.b.jobs))), w.j.n, len(w.b.jobs))
	w.b.app.lost(report.VerdictLine(out, r, s))
	if r.Verdict != result.Pass {
		s.Dir, s.Page = dir, pageFile
		w.b.app.lost(report.Failure(out, r, s))
		w.b.app.lost(report.Files(out, r, s))
	}
}
