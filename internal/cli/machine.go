package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/report/page"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/vm"
)

func (f *runFlags) timeOf() string {
	if f.realTime {
		return "real time"
	}
	return "virtual time"
}

// inbox takes what a guest sends and puts it where runs on this machine leave it.
type inbox struct {
	b       *batch
	jobs    []job             // of this machine, by the guest's numbers
	folders map[int]*folder   // of runs that have begun and not ended
	began   map[int]time.Time // by this machine's clock
	ended   int               // how many have, with their files or with a reason why there are none
	reason  error             // of the run at hand: why it is not whole
	record  runner.Record     // of the run at hand
}

func (in *inbox) receive(m vm.Message) error {
	number, what, _ := strings.Cut(m.Name, "/")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n >= len(in.jobs) {
		return fmt.Errorf("the guest speaks of run %q, of %d", number, len(in.jobs))
	}
	if what == sayBegin {
		return in.begin(n)
	}
	f := in.folders[n]
	if f == nil {
		return fmt.Errorf("the guest sends %q of run %d, which has not begun", what, n)
	}
	name, isFile := strings.CutPrefix(what, sayFile)
	switch {
	case isFile:
		return in.file(f, name, m.Data)
	case what == sayResult:
		return in.result(m.Data)
	case what == sayCapture:
		c, err := runner.ReadCapture(m.Data)
		in.record.Captures = append(in.record.Captures, c)
		return err
	case what == sayError:
		var d failedDocument
		if err := json.Unmarshal(m.Data, &d); err != nil {
			return fmt.Errorf("the guest's error: %w", err)
		}
		in.reason = &failure{errors.New(d.Error), d.Exit, d.Code}
		return nil
	case what == sayEnd:
		delete(in.folders, n)
		return in.end(n, f)
	}
	return fmt.Errorf("the guest says %q of run %d", what, n)
}

// begin begins a run: the next one, when the one before has ended. What is sent is that of the run at hand, whatever its number says.
func (in *inbox) begin(n int) error {
	if n != in.ended || len(in.folders) > 0 {
		return fmt.Errorf("the guest begins run %d, want %d after the one before has ended", n, in.ended)
	}
	f, err := in.b.folder(in.jobs[n])
	if err != nil {
		return err
	}
	in.reason, in.record = nil, runner.Record{}
	in.began[n], in.folders[n] = time.Now(), f
	return nil
}

// file stores one file of a run. A name with a path in it is refused: the folder is all that a guest can write to.
func (in *inbox) file(f *folder, name string, data []byte) error {
	if name == "" || strings.ContainsAny(name, `/\`) || name == "." || name == ".." {
		return fmt.Errorf("the guest sends a file %q", name)
	}
	file, err := f.open(name)
	if err == nil {
		_, err = file.Write(data)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		return fmt.Errorf("write %s/%s: %w", f.path, name, err)
	}
	if name == "events.ndjson" && in.b.events != nil {
		_, err = in.b.events.Write(data)
	}
	return err
}

func (in *inbox) result(data []byte) error {
	if in.record.Result != nil {
		return errors.New("the guest sends a second result of one run")
	}
	r, err := result.Read(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("the guest's result: %w", err)
	}
	in.record.Result = r
	return nil
}

// end ends one run: its folder is kept where it is whole, and what is to be seen of it is shown. A result counts when its files are there: of a run
// that loses them, by a full disk or because its machine dies before it has sent all, nothing is to be called a pass.
func (in *inbox) end(n int, f *folder) error {
	b, j, r, reason := in.b, in.jobs[n], in.record.Result, in.reason
	if r == nil && reason == nil {
		reason = errors.New("the guest sent no result")
	}
	if r == nil {
		in.ended++
		_ = f.done(reason)
		b.fail(j, reason)
		return nil
	}
	if err := f.done(errors.Join(in.record.Write(f.root, page.Translate), f.pictures(r, b.flags.page))); err != nil {
		return err
	}
	in.ended++
	b.mu.Lock()
	b.results[j.n-1] = r
	b.mu.Unlock()
	if reason != nil { // the run is judged, but something of it went wrong
		b.app.grave(reason)
	}
	b.show(j, r, f.path, time.Since(in.began[n]))
	return nil
}

// unmade notes the runs that a machine did not come to the end of, and why: the first of them is the one that it was at.
func (in *inbox) unmade(err error) {
	for _, j := range in.jobs[min(in.ended, len(in.jobs)):] {
		in.b.fail(j, err)
	}
}

// fail notes a run without a result. Of several, each is told of.
func (b *batch) fail(j job, err error) {
	b.mu.Lock()
	b.failed = append(b.failed, failed{j, err})
	b.mu.Unlock()
	if len(b.jobs) > 1 || b.done != nil {
		b.app.mu.Lock()
		defer b.app.mu.Unlock()
		fmt.Fprintf(b.app.err, "%s: ", j.x.Name)
		b.app.explain(err)
	}
}

// grave tells of an error that ends nothing, and keeps its exit code.
func (a *app) grave(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.code = a.explain(err)
}

// show prints one run, as a run on this machine would have.
func (b *batch) show(j job, r *result.Result, dir string, took time.Duration) {
	if b.done != nil {
		b.done(j, r, took)
		return
	}
	if len(b.jobs) > 1 {
		(&quietWatch{b: b, j: j}).end(r, dir)
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
