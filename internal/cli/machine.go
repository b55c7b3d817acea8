package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/vm"
)

// boot makes the runs on another kernel, in a machine of its own: one boot for all of them, one after the other.
func (b *batch) boot(ctx context.Context) (err error) {
	made := missing(b.flags.out)
	for _, p := range made {
		b.app.guard.Made(p)
	}
	defer func() { err = keepMade(made, err) }()
	b.results = make([]*result.Result, len(b.jobs))
	k, err := vm.Find(b.flags.kernel)
	if err != nil {
		return err
	}
	o, err := b.machine(k)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.app.err, "booting Linux %s in %s\n", k.Release, b.flags.timeOf())
	in := &inbox{b: b, folders: map[int]*folder{}}
	defer in.discard()
	stats, err := vm.Run(ctx, o, in.receive)
	if err != nil {
		if ctx.Err() != nil {
			return interrupted(ctx)
		}
		return err
	}
	fmt.Fprintf(b.app.err, "Linux %s: up after %.1f s, done after %.1f s, %d MB of memory at most\n", k.Release, stats.Boot.Seconds(), stats.Wall.Seconds(), stats.Peak>>20)
	if len(b.jobs) == 1 && len(b.failed) == 1 {
		return b.failed[0].err
	}
	return nil
}

func (f *runFlags) timeOf() string {
	if f.realTime {
		return "real time"
	}
	return "virtual time"
}

// machine is what is booted.
func (b *batch) machine(k vm.Kernel) (vm.Options, error) {
	program, err := os.Executable()
	if err != nil {
		return vm.Options{}, err
	}
	q := guestRequest{Tool: result.Tool{Name: "tcplab", Version: version}, Command: os.Args, Timeout: b.flags.timeout, Virtual: !b.flags.realTime,
		NoEvidence: b.flags.evidence == "off"}
	for _, j := range b.jobs {
		q.Runs = append(q.Runs, guestRun{j.x.Name, j.plan})
	}
	q.Foreseen = foresee(k, b.jobs)
	request, err := json.Marshal(q)
	if err != nil {
		return vm.Options{}, err
	}
	return vm.Options{Kernel: k, Program: program, Request: request, RealTime: b.flags.realTime}, nil
}

// foresee predicts for a kernel before it runs, from its version. Debian's kernels have HZ=250; one that has not, or that differs otherwise,
// asks other questions and works them out itself.
func foresee(k vm.Kernel, jobs []job) runner.Foreseen {
	const hz = 250
	v, err := kernel.ParseVersion(k.Release)
	if err != nil {
		return nil
	}
	facts, err := kernel.Model(v, hz)
	if err != nil {
		return nil
	}
	var wanted []runner.Wanted
	for _, j := range jobs {
		wanted = append(wanted, runner.Wanted{Experiment: j.x, Plan: j.plan})
	}
	return runner.Foresee(facts, wanted)
}

// inbox takes what a guest sends and puts it where runs on this machine leave it.
type inbox struct {
	b       *batch
	folders map[int]*folder // of runs that have begun and not ended
	reason  error           // of the run at hand: why it is not whole
}

func (in *inbox) receive(m vm.Message) error {
	number, what, _ := strings.Cut(m.Name, "/")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n >= len(in.b.jobs) {
		return fmt.Errorf("the guest speaks of run %q, of %d", number, len(in.b.jobs))
	}
	if what == sayBegin {
		in.reason = nil
		in.folders[n], err = makeFolder(in.b.app.guard, in.b.flags.out, in.b.jobs[n].x.Name)
		return err
	}
	f := in.folders[n]
	if f == nil {
		return fmt.Errorf("the guest sends %q of run %d, which has not begun", what, n)
	}
	name, isFile := strings.CutPrefix(what, sayFile)
	switch {
	case isFile:
		return in.file(n, f, name, m.Data)
	case what == sayError:
		var d failedDocument
		if err := json.Unmarshal(m.Data, &d); err != nil {
			return fmt.Errorf("the guest's error: %w", err)
		}
		in.reason = &failure{errors.New(d.Error), d.Exit, d.Code}
		return nil
	case what == sayEnd:
		delete(in.folders, n)
		return in.end(in.b.jobs[n], f)
	}
	return fmt.Errorf("the guest says %q of run %d", what, n)
}

// file stores one file of a run. A name with a path in it is refused: the folder is all that a guest can write to.
func (in *inbox) file(n int, f *folder, name string, data []byte) error {
	if name == "" || strings.ContainsAny(name, `/\`) || name == "." || name == ".." {
		return fmt.Errorf("the guest sends a file %q", name)
	}
	if name == "result.json" {
		r, err := result.Read(bytes.NewReader(data))
		if err != nil {
			return fmt.Errorf("the guest's result: %w", err)
		}
		in.b.results[n] = r
	}
	file, err := f.create(name)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s/%s: %w", f.path, name, err)
	}
	if name == "events.ndjson" && in.b.events != nil {
		_, err = in.b.events.Write(data)
	}
	return err
}

// end ends one run: its folder is kept where it is whole, and what is to be seen of it is shown.
func (in *inbox) end(j job, f *folder) error {
	b := in.b
	r := b.results[j.n-1]
	reason := in.reason
	if r == nil && reason == nil {
		reason = errors.New("the guest sent no result")
	}
	if r == nil {
		_ = f.done(reason)
		b.failed = append(b.failed, failed{j, reason})
		if len(b.jobs) > 1 {
			fmt.Fprintf(b.app.err, "%s: ", j.x.Name)
			b.app.explain(reason)
		}
		return nil
	}
	if err := f.done(f.pictures(r, b.flags.page)); err != nil {
		return err
	}
	if reason != nil { // the run is judged, but something of it went wrong
		b.app.code = b.app.explain(reason)
	}
	b.show(j, r, f.path)
	return nil
}

// show prints one run, as a run on this machine would have.
func (b *batch) show(j job, r *result.Result, dir string) {
	if len(b.jobs) > 1 {
		(&quietWatch{b, j}).end(r, dir)
		return
	}
	if b.flags.json {
		return
	}
	out := b.app.out
	if b.flags.events == "-" {
		out = b.app.err
	}
	s := b.app.style(out)
	s.AbsoluteSeq, s.Dir, s.Page = b.flags.absolute, dir, pageFile
	b.app.lost(report.Text(out, r, s))
}

// discard removes the folders of runs that did not end.
func (in *inbox) discard() {
	for _, f := range in.folders {
		_ = f.done(errors.New("not whole"))
	}
}

// cannotBoot are the exit code and the stable code of an error of the machine's; ok is false where it is another.
func cannotBoot(err error) (exit int, code string, ok bool) {
	var end *vm.EndError
	switch {
	case errors.Is(err, vm.ErrMissing):
		return explain.ExitUnable, explain.NoMachine, true
	case errors.As(err, &end):
		return explain.ExitInternal, explain.MachineEnded, true
	}
	return 0, "", false
}
