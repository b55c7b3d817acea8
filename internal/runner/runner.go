// Package runner turns an experiment into a result: it builds the lab, pins its settings, predicts, captures, runs, lets things settle,
// analyses, compares and takes everything down. It is where prediction and observation are brought together; the judgement itself is
// package judge's.
//
// It is not for output: a Watcher is told what happens, and Record.Write makes the run's folder. Its one trap: the prediction is made
// before the first packet, from what was read back in the lab. Nothing may be computed into it from the capture.
package runner

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/sysctl"
)

// Options say what to run and how. Experiment and Plan are required; the rest works when zero.
type Options struct {
	Experiment *experiments.Experiment
	Plan       experiments.Plan
	// Timeout bounds the run from its first packet on. Zero: a little longer than the prediction.
	Timeout time.Duration
	Tool    result.Tool
	Command []string
	Shard   *result.Shard // nil: not of a shared list
	// Watch is told what happens. Nil: nobody.
	Watch Watcher
	// Dir is the folder for the run's files, empty but for what the caller put there. Nil: no files.
	Dir *os.Root
	// Record gets what the run left, instead of Dir. Nil: nobody.
	Record func(Record) error
	// Events gets one JSON line for each thing that happens, while it happens. Nil: nothing.
	Events io.Writer
	// Keep is called after the run, before the lab is taken down, and holds it up until it returns. Nil: the lab goes at once.
	Keep func(*result.Result, Namespaces)
	// Foreseen are predictions that were worked out beforehand. Nil: the run makes all of its own.
	Foreseen Foreseen
	// Virtual says that time stands still while this machine has work to do, and jumps when it has none: nothing watches for stalls, and
	// inet_diag is asked less often where nothing is expected, because each look is paid for in every virtual hour.
	Virtual bool
	// Earlier are the attempts before this one, which decided nothing. Nil: this is the first.
	Earlier []result.Attempt
	// KernelTypes are what KernelTypes made of the BTF of the kernel that the run is on. Nil: the kernel's own BTF is read, which a guest takes
	// a second for.
	KernelTypes []byte
	// Tracepoints are shared with other runs of this process, made before and after this one. Nil: the run loads its own.
	Tracepoints *Tracepoints
	// NoEvidence leaves the kernel's tracepoints and counters alone. False: they are followed where that is possible.
	NoEvidence bool
	// Chinese gives the Chinese form of a sentence, for a second comment on each packet of the capture files; ok is false where it has none.
	// Nil: the comments are in English only.
	Chinese func(english string) (chinese string, ok bool)
}

// Namespaces name the lab's namespaces for nsenter(1), while it stands.
type Namespaces struct{ Client, Server string }

// Watcher follows a run. Its methods are called one at a time; the result is the run's own and must not be kept or changed.
type Watcher interface {
	// Ready is called when the lab stands and the prediction is made, before the first packet.
	Ready(r *result.Result)
	// Event is called for each event that was seen. state is the client's TCP state where it changed with the event, or "".
	Event(r *result.Result, e result.Event, state string)
	// Status is called a few times a second.
	Status(s Status)
}

// Status is where a run stands.
type Status struct {
	Elapsed time.Duration // since the first packet; negative before it
	Next    *result.Event // what is expected next; nil: nothing
	// Client and Server are the newest looks at the two sockets.
	Client, Server result.Sample
}

// ErrUnable is wrapped by errors that say that this machine cannot run the experiment: no privilege, no iptables, no such knob.
var ErrUnable = errors.New("this machine cannot run it")

// unable marks err as ErrUnable without changing its words.
type unable struct{ error }

func (u unable) Is(target error) bool { return target == ErrUnable }
func (u unable) Unwrap() error        { return u.error }

// Env is what a prediction for this plan stands on where there is no lab: the settings of the plan over the baseline of a lab, and the
// kernel's own defaults where the baseline leaves a knob alone, as the catalogue knows them.
func Env(x *experiments.Experiment, plan experiments.Plan, facts kernel.Facts) (experiments.Env, error) {
	e := experiments.Env{Profile: plan.Profile, Facts: facts, Sysctls: map[string]string{}, Options: plan.Options}
	has := func(name string) bool { return hasKnob(name, facts) }
	for _, host := range []string{"client", "server"} {
		for _, s := range sysctl.Baseline(has) {
			if _, known := sysctl.Lookup(s.Name); known {
				e.Sysctls[host+"."+s.Name] = s.Value
			}
		}
		for _, name := range sysctl.ProfileKnobs() {
			if !has(name) {
				continue
			}
			v, err := defaultOf(name, facts)
			if err != nil {
				return e, err
			}
			e.Sysctls[host+"."+name] = v
		}
	}
	for _, s := range plan.Settings {
		if hasKnob(s.Name, facts) {
			e.Sysctls[s.Host+"."+s.Name] = s.Value
		} else if !s.Optional {
			return e, unable{fmt.Errorf("%s %s: kernel %v has no %s%s", s.Origin, s.Value, facts.Version, s.Name, since(s.Name))}
		}
	}
	return e, nil
}

// Predict makes the prediction of a plan in the form that `predict --json` prints and a result keeps.
func Predict(x *experiments.Experiment, plan experiments.Plan, e experiments.Env) (*result.Prediction, error) {
	t, err := forecast(x, e, e.Start)
	if err != nil {
		return nil, err
	}
	return prediction(x, plan, e, t), nil
}

func prediction(x *experiments.Experiment, plan experiments.Plan, e experiments.Env, t timeline.Timeline) *result.Prediction {
	p := &result.Prediction{
		Schema: result.PredictionSchema, Experiment: x.Name, Profile: string(plan.Profile), Kernel: minor(e.Facts.Version), HZ: e.Facts.HZ,
		Facts: facts(e.Facts), Params: params(x, plan, e), Sysctls: settings(x, plan, e), Notes: append(notes(e, t), unread(x, plan, e)...),
	}
	for _, ev := range t.Events {
		p.Events = append(p.Events, fromTimeline(ev))
	}
	if x.Cases != nil {
		e.Start = nil
		p.Cases, _ = x.Cases(e) // it asks the same as the prediction, which is here
	}
	if t.Outcome != nil {
		o := fromTimeline(*t.Outcome)
		p.Outcome = &o
	}
	return p
}

// misuse marks err as ErrUsage without changing its words.
type misuse struct{ error }

func (m misuse) Is(target error) bool { return target == ErrUsage }
func (m misuse) Unwrap() error        { return m.error }

// ErrUsage is wrapped by errors that another command line would mend.
var ErrUsage = errors.New("cannot be set")
