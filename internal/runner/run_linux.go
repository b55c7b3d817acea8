package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/evidence"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/stall"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
	"github.com/tcplab/tcplab/pcapout"
	"github.com/tcplab/tcplab/sysctl"
)

// run is one run in progress. Its fields are written by the goroutine of Run and, under the observer's lock, by the observer.
type run struct {
	Options
	began time.Time
	facts kernel.Facts
	clock *kernel.Clock // nil: the phase of jiffies is not known
	noise error         // why it is not known
	lab   *lab.Lab
	env   experiments.Env // as planned
	known experiments.Env // with the calls as they were made
	setup experiments.Setup
	link  lab.DelayStats
	res   *result.Result
	obs   *observer
	rules []*lab.Filter
	stall *stall.Watcher // nil: nobody watches
	told  *testimony     // nil: the kernel is not asked
	load  stall.Load     // at the start

	uncounted []error       // beside rules: why its counter could not be read
	unkept    error         // why nothing is predicted for the calls as they were made: they were too late; nil: something is. Or a call took so long that this proves nothing
	counted   time.Duration // CLOCK_MONOTONIC: the rules' counters were read from then on
	wall      wallClock     // CLOCK_REALTIME against CLOCK_MONOTONIC at the start
	wallWatch *wallWatch    // how far it was from there since
	wallMoved time.Duration // at most; valid when the captures are closed

	// want is the prediction that is judged, and byLook what of it only looks can show (judgeBy sets both); start is the phase that it stands on, nil where
	// it is not known. They are fixed by predict and, from the client's own clock readings, by anchor, which has looked at so many calls. foretold is
	// what predict made.
	want     timeline.Timeline
	byLook   []timeline.Event
	foretold timeline.Timeline
	start    *oracle.Start
	anchored int
	near     *anchoring // want's windows are those of its start alone; nil: of every one

	// expire gives the run up. It is set anew, to bound, when the client's first call is under way: its time counts from there.
	expire *time.Timer
	bound  time.Duration

	late   error // why the run was not as it was planned; nil: it was. Under the observer's lock
	broken error // why observation ended before its time; nil: it did not

	judged *view // what the captures showed when they were closed; nil: they are not yet
}

// Run carries the experiment out and returns its result. The lab is gone when it returns, also on an error, a panic and a cancelled
// context. An error without a result wraps ErrUnable where this machine lacks something, and the context's cause where that was
// cancelled; an error with a result means that the run is judged, but its files could not be written in full, or that something of the
// lab was left behind.
func Run(ctx context.Context, o Options) (res *result.Result, err error) {
	r := &run{Options: o, began: time.Now(), load: stall.ReadLoad()}
	defer func() { // the lab goes on every way out
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: panic: %v\n%s", o.Experiment.Name, p, debug.Stack())
		}
		if cerr := r.close(); cerr != nil {
			err = errors.Join(err, fmt.Errorf("tear down: %w", cerr))
		}
	}()
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	if err := r.carryOut(ctx); err != nil {
		return nil, err
	}
	r.res.Wall = result.Seconds(time.Since(r.began))
	err = errors.Join(r.write(), r.obs.unwritten) // before anything that can still go wrong
	if o.Keep != nil {
		o.Keep(r.res, Namespaces{Client: r.lab.Client.NamespacePath(), Server: r.lab.Server.NamespacePath()})
	}
	return r.res, err
}

// prepare builds the lab, sets it and predicts.
func (r *run) prepare(ctx context.Context) (err error) {
	if r.facts, err = kernel.Running(); err != nil {
		return err
	}
	clock, err := kernel.ReadClock()
	if err == nil {
		r.clock = &clock
	} else {
		r.noise = err
	}
	r.setup = r.Experiment.Setup(r.Plan.Options)
	if _, err := lab.FindIPTables(r.setup.IPv6); err != nil {
		return unsupported(err)
	}
	r.obs = newObserver(r)
	r.lab, err = lab.New(ctx, lab.Topology{Baseline: baseline(r.setup), IPv6: r.setup.IPv6, RTT: r.setup.RTT, Link: r.setup.Link, Router: r.setup.Router, NoNeighbours: r.setup.NoNeighbours, Observe: r.obs.client,
		Virtual: r.Virtual})
	if err != nil {
		return unsupported(err)
	}
	if err := r.apply(); err != nil {
		return err
	}
	if err := r.readBack(); err != nil {
		return err
	}
	for _, f := range r.setup.Faults {
		if _, err := r.host(f.Host).Drop(ctx, f.Rule); err != nil {
			return unsupported(err)
		}
	}
	for _, o := range r.setup.Listen {
		if _, err := r.lab.Server.Listen(ctx, o); err != nil {
			return err
		}
	}
	if !r.Virtual {
		if r.stall, err = stall.Watch(r.facts.Jiffy() / 2); err != nil {
			return fmt.Errorf("watch for stalls: %w", err)
		}
	}
	if r.wallWatch, err = watchWall(); err != nil {
		return err
	}
	r.wall = r.wallWatch.start
	if err := r.obs.open(); err != nil {
		return err
	}
	if err := r.cut(ctx); err != nil {
		return err
	}
	r.testify()
	return r.predict()
}

// cut takes an end of the link down, and waits until the other one knows: up to a second, so it is done before the start is chosen.
func (r *run) cut(ctx context.Context) error {
	if r.setup.LinkDown == "" {
		return nil
	}
	other := r.lab.Server
	if r.setup.LinkDown == "server" {
		other = r.lab.Client
	}
	if err := r.host(r.setup.LinkDown).SetLink(ctx, false); err != nil {
		return err
	}
	return other.AwaitNoCarrier(ctx)
}

// close takes everything down, as far as it was built.
func (r *run) close() error {
	var errs []error
	if r.stall != nil {
		r.stall.Stop()
	}
	if r.obs != nil {
		errs = append(errs, r.obs.close())
	}
	if r.wallWatch != nil {
		_, err := r.wallWatch.stop()
		errs = append(errs, err)
	}
	errs = append(errs, r.told.close())
	if r.lab != nil {
		errs = append(errs, r.lab.Close())
	}
	return errors.Join(errs...)
}

// unsupported marks what this machine lacks: privilege, iptables, or a feature of the kernel.
func unsupported(err error) error {
	for _, lack := range []error{lab.ErrPrivilege, lab.ErrNoIPTables, lab.ErrUnsupported} {
		if errors.Is(err, lack) {
			return unable{err}
		}
	}
	return err
}

// apply sets what the plan says, and makes the result's table of settings.
func (r *run) apply() error {
	for _, s := range r.Plan.Settings {
		h := r.host(s.Host)
		if !h.Has(s.Name) {
			if s.Optional {
				continue
			}
			if _, known := sysctl.Lookup(s.Name); !known {
				return fmt.Errorf("%w: %s: this kernel has no %s%s", ErrUsage, s.Origin, s.Name, didYouMean(s.Name))
			}
			return unable{fmt.Errorf("%s %s: Linux %s has no %s in a network namespace%s", s.Origin, s.Value, r.facts.Release, s.Name, since(s.Name))}
		}
		if _, err := h.Set(s.Name, s.Value, s.Origin); err != nil {
			return fmt.Errorf("%w: %s: %s: %w", ErrUsage, s.Origin, s.Host, err)
		}
	}
	return nil
}

func didYouMean(name string) string {
	if s := sysctl.Suggest(name); s != "" && s != name {
		return " (did you mean " + s + "?)"
	}
	return ""
}

// readBack takes the effective values from the lab, of every knob that the catalogue knows: what the prediction stands on is what the
// kernel holds.
func (r *run) readBack() error {
	r.env = experiments.Env{Profile: r.Plan.Profile, Facts: r.facts, Sysctls: map[string]string{}, Options: r.Plan.Options,
		Memory: oracle.NewMemory(r.Foreseen)}
	names := map[string]bool{}
	for _, k := range sysctl.All() {
		names[k.Name] = true
	}
	for _, s := range r.Plan.Settings {
		names[s.Name] = true
	}
	for _, host := range []string{"client", "server"} {
		h := r.host(host)
		err := h.Do(func() error {
			var fs sysctl.FS
			for name := range names {
				if !fs.Exists(name) {
					continue
				}
				v, err := fs.Read(name)
				if err != nil {
					return fmt.Errorf("%s: %w", host, err)
				}
				r.env.Sysctls[host+"."+name] = v
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// predict makes the prediction, with the exact ticks where the phase of jiffies is known: the first packet is put into the middle of
// a jiffy that is chosen now, one from which neighbouring jiffies would lead to the same ticks if there is one near.
func (r *run) predict() error {
	t, err := windows(r.Experiment, r.env) // before the start is chosen: it takes a while
	if err != nil {
		return misuse{err} // settings that make no sense together, or that nobody can predict
	}
	now, err := kernel.MonotonicNow()
	if err != nil {
		return err
	}
	r.env.StartAt = r.soonest(now)
	if r.clock != nil {
		if t, err = r.choose(now); err != nil {
			return err
		}
	}
	r.judgeBy(t)
	r.foretold, r.start, r.known = t, r.env.Start, r.env
	r.lab.Client.Expect(r.due(t, r.env.StartAt))
	p := prediction(r.Experiment, r.Plan, r.env, t)
	if r.clock == nil {
		p.Notes = append(p.Notes, result.Note{Code: explain.PhaseUnknown, Text: "The phase of jiffies is not known (" + r.noise.Error() +
			"), so the prediction is a window for each packet and not one tick."})
	}
	r.res = r.head(p)
	return nil
}

// head is the result as far as it is known before the first packet.
func (r *run) head(p *result.Prediction) *result.Result {
	x := r.Experiment
	res := &result.Result{
		Schema: result.Schema, Tool: r.Tool, Profile: string(r.Plan.Profile), Command: r.Command, Shard: r.Shard, Started: r.began.UTC(),
		Experiment: result.Experiment{Name: x.Name, Summary: x.Summary, Question: x.Question},
		Kernel: result.Kernel{Release: r.facts.Release, Version: minor(r.facts.Version), Arch: r.facts.Arch, HZ: r.facts.HZ,
			CPUs: runtime.NumCPU(), Facts: p.Facts},
		Params: p.Params, Prediction: p, Notes: p.Notes,
		Clock:     result.Clock{Tick: result.Seconds(r.facts.Jiffy())},
		Reproduce: x.Script(r.Plan), Earlier: r.Earlier, LookAt: int(r.setup.LookAt),
	}
	for _, h := range []*lab.Host{r.lab.Client, r.lab.Server} {
		host := result.Host{Name: h.Name, Addr: h.Addr.String(), Iface: h.Iface, MAC: h.MAC.String()}
		if h.Name == "server" {
			host.Port = int(r.setup.Listen[0].Port)
		}
		res.Hosts = append(res.Hosts, host)
		res.Sysctls = append(res.Sysctls, r.settings(h)...)
	}
	if r.setup.RTT > 0 {
		l := r.setup.Link
		res.Link = &result.Link{RTT: result.Seconds(r.setup.RTT), How: r.lab.Delay(), Rate: l.Rate, Every: l.Every, Hold: result.SecondsOf(l.Hold), Back: result.SecondsOf(l.Back), Behind: result.SecondsOf(l.Behind)}
		for _, f := range l.Flows {
			res.Link.Flows = append(res.Link.Flows, result.Flow{Port: int(f.Port), Hold: result.SecondsOf(f.Hold), Back: result.SecondsOf(f.Back)})
		}
	}
	r.listRules(res)
	return res
}

// folders names the folders of attempts.
func folders(attempts []result.Attempt) string {
	var names []string
	for _, a := range attempts {
		names = append(names, a.Folder)
	}
	return strings.Join(names, ", ")
}

// listRules takes the rules of both hosts, those that Run made included. Rules are only ever added.
func (r *run) listRules(res *result.Result) {
	for _, h := range []*lab.Host{r.lab.Client, r.lab.Router, r.lab.Server} {
		if h == nil {
			continue // no router
		}
		for _, f := range h.Rules() {
			if slices.Contains(r.rules, f) {
				continue
			}
			r.rules = append(r.rules, f)
			res.Rules = append(res.Rules, result.Rule{Host: f.Host, Table: f.TableName(), Chain: f.Chain, Text: f.Text, Program: program(f), Spec: f.Spec(), Reject: f.Reject, AfterCapture: f.AfterCapture()})
		}
	}
}

// settings lists what was set on a host: first what the experiment is about, then the baseline.
func (r *run) settings(h *lab.Host) []result.Sysctl {
	code := map[string]string{}
	matters := map[string]bool{}
	for _, s := range r.Plan.Settings {
		if s.Host == h.Name {
			code[s.Name] = s.Code
			matters[s.Name] = strings.HasPrefix(s.Origin, "--")
		}
	}
	var first, rest []result.Sysctl
	for _, c := range h.Changes() {
		here, err := sysctl.FS{}.Read(c.Name)
		if err != nil {
			here = ""
		}
		s := result.Sysctl{Host: h.Name, Name: c.Name, Was: c.Was, Now: c.Now, Here: here, Origin: c.Why, Code: code[c.Name]}
		_, planned := code[c.Name]
		s.Matters = matters[c.Name] || planned && s.Now != s.Was // what the user asked for, and what the profile really changed
		if s.Matters {
			first = append(first, s)
		} else {
			rest = append(rest, s)
		}
	}
	return append(first, rest...)
}

// carryOut captures, runs the experiment, lets it settle and judges it.
func (r *run) carryOut(ctx context.Context) (err error) {
	if r.Watch != nil {
		r.Watch.Ready(r.res)
	}
	r.obs.log("start", r.res.Prediction)

	limit := r.Timeout
	if limit == 0 {
		limit = r.limit()
	}
	bounded, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.bound, r.expire = limit, time.AfterFunc(limit+r.startIn()+startWithin, func() { cancel(errTimeout) })
	defer r.expire.Stop()
	watched := sync.OnceFunc(r.obs.watch(cancel))
	defer watched() // also when the experiment panics
	err = r.Experiment.Run(bounded, r.lab, r.env)
	switch cause := context.Cause(bounded); {
	case errors.Is(cause, errTimeout):
		err = nil // an observation: connect() still waits, and what becomes of it while the counters are read is not waited for
		r.obs.giveUp()
	case errors.Is(cause, errCapture), errors.Is(err, lab.ErrClientEnded):
		r.broken, err = err, nil // an observation too: it ended here, and what was seen until then is kept
		if errors.Is(cause, errCapture) {
			r.broken = cause
		}
	case errors.Is(err, experiments.ErrLate):
		r.obs.mu.Lock()
		r.late, err = err, nil // an observation of something else than what was planned
		r.obs.mu.Unlock()
	case err == nil && ctx.Err() == nil:
		r.obs.settle(bounded)
	}
	watched()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	return r.finish(ctx)
}

// errCapture is wrapped by the cause with which a capture that fails ends the run.
var errCapture = errors.New("the capture failed")

var errTimeout = errors.New("the run's time is up")

// startWithin is how long a client's process may take to start on a busy machine, on top of startIn.
const startWithin = 10 * time.Second

// limit is when a run is given up that does not end by itself: well after the last instant that was predicted.
func (r *run) limit() time.Duration {
	last := latest(r.want)
	return last + last/4 + 5*time.Second
}

// latest is the last instant at which something is predicted.
func latest(t timeline.Timeline) time.Duration {
	var last time.Duration
	for t := range t.All() {
		for _, e := range t.Events {
			last = max(last, e.Latest)
		}
		if t.Outcome != nil {
			last = max(last, t.Outcome.Latest)
		}
	}
	return last
}

// openDiag opens inet_diag in a host's namespace.
func openDiag(h *lab.Host) (*evidence.Diag, error) {
	var d *evidence.Diag
	err := h.Do(func() (err error) {
		d, err = evidence.Open()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.Name, err)
	}
	return d, nil
}

// openCapture starts a capture on a host, of ARP too where the experiment is about it.
func openCapture(h *lab.Host, arp bool) (*pcapout.Source, error) {
	var o pcapout.SourceOptions
	if arp {
		o.EtherTypes = []uint16{unix.ETH_P_IP, unix.ETH_P_IPV6, unix.ETH_P_ARP}
	}
	src, err := h.Capture(o)
	if errors.Is(err, os.ErrPermission) {
		return nil, unable{err}
	}
	return src, err
}
