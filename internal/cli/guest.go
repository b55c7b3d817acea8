package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/spec"
	"github.com/tcplab/tcplab/internal/vm"
)

// guestRequest is what the host asks of its guest: runs, made one after the other.
type guestRequest struct {
	Tool    result.Tool   `json:"tool"`
	Command []string      `json:"command"`
	Timeout time.Duration `json:"timeout"`
	Virtual bool          `json:"virtual"` // time is
	Runs    []guestRun    `json:"runs"`
	// Foreseen spares the guest the long search for windows, which translated code is slow at.
	Foreseen runner.Foreseen `json:"foreseen"`
	// Types spares it the decoding of the kernel's own.
	Types []byte `json:"types,omitempty"`
	// NoEvidence is --evidence=off.
	NoEvidence bool `json:"no_evidence,omitempty"`

	tracepoints *runner.Tracepoints // of all runs
}

// guestRun is one run. The plan was decided on the host, from the command line alone; what it comes to is for the guest's kernel.
type guestRun struct {
	Experiment string `json:"experiment"`
	// Source is the experiment's file, with its text: the guest has no other. Nil: it is one of the catalogue.
	Source *experiments.Source `json:"source,omitempty"`
	Plan   experiments.Plan    `json:"plan"`
	Shard  *result.Shard       `json:"shard,omitempty"`
}

// find is the experiment of a run.
func (r guestRun) find() (*experiments.Experiment, error) {
	if r.Source == nil {
		return experiments.Find(r.Experiment)
	}
	f, err := spec.Parse(r.Source.Path, []byte(r.Source.Text))
	if err != nil {
		return nil, err
	}
	return f.Experiment(), nil
}

// Messages of a guest about run N: "N/begin"; "N/file/NAME"; "N/result" in JSON, and "N/capture" for each of its captures, which the host makes the other
// files of; "N/error" with a failedDocument; "N/end".
const (
	sayBegin   = "begin"
	sayFile    = "file/"
	sayResult  = "result"
	sayCapture = "capture"
	sayError   = "error"
	sayEnd     = "end"
)

// guestMain is this program as the first process of a machine that another tcplab booted.
func guestMain() {
	vm.Guest(func(request []byte, send func(vm.Message) error) error {
		var q guestRequest
		if err := json.Unmarshal(request, &q); err != nil {
			return fmt.Errorf("request: %w", err)
		}
		q.tracepoints = new(runner.Tracepoints)
		for i, r := range q.Runs {
			if q.Virtual {
				if err := vm.AtSecond(); err != nil {
					return err
				}
			}
			say := func(what string, data []byte) error {
				return send(vm.Message{Name: strconv.Itoa(i) + "/" + what, Data: data})
			}
			if err := q.serve(r, say); err != nil {
				return err
			}
			vm.Collect()
		}
		return nil
	})
}

// serve makes one run and sends what its files are made of, or why there is none.
func (q guestRequest) serve(r guestRun, say func(string, []byte) error) error {
	if err := say(sayBegin, nil); err != nil {
		return err
	}
	made, err := q.run(r)
	for _, m := range made {
		if err := say(m.Name, m.Data); err != nil {
			return err
		}
	}
	if err != nil {
		exit, code := classify(err)
		b, merr := json.Marshal(failedDocument{Experiment: r.Experiment, Error: err.Error(), Exit: exit, Code: code})
		if merr != nil {
			return merr
		}
		if err := say(sayError, b); err != nil {
			return err
		}
	}
	return say(sayEnd, nil)
}

// run makes one run. Messages without an error are a whole run; with one, what there is of it.
func (q guestRequest) run(r guestRun) (made []vm.Message, err error) {
	x, err := r.find()
	if err != nil {
		return nil, err
	}
	var events bytes.Buffer
	_, err = runner.Run(context.Background(), runner.Options{
		Experiment: x, Plan: r.Plan, Timeout: q.Timeout, Tool: q.Tool, Command: q.Command, Shard: r.Shard, Events: &events, Virtual: q.Virtual,
		Foreseen: q.Foreseen, KernelTypes: q.Types, Tracepoints: q.tracepoints, NoEvidence: q.NoEvidence,
		Record: func(rec runner.Record) error {
			b, err := json.Marshal(rec.Result)
			made = append(made, vm.Message{Name: sayResult, Data: b})
			for _, c := range rec.Captures {
				made = append(made, vm.Message{Name: sayCapture, Data: c.Append(nil)})
			}
			return err
		},
	})
	return append(made, vm.Message{Name: sayFile + "events.ndjson", Data: events.Bytes()}), err
}
