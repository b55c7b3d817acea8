package spec

import (
	"errors"
	"slices"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/timeline"
)

// connectInput reads what the oracle needs of the client.
func (f *File) connectInput(e experiments.Env) (oracle.Connect, error) {
	k := &knobs{e: e}
	c := oracle.Connect{Host: "client", SYNRetries: int(k.int("client", "tcp_syn_retries")), LinearTimeouts: int(k.int("client", "tcp_syn_linear_timeouts")),
		RTOMax: k.ms("client", "tcp_rto_max_ms"), SYNCount: f.connect().Connect.SYNCount, UserTimeout: f.connect().Connect.UserTimeout}
	return c, k.err()
}

// serverInput reads what the oracle needs of the server's half-open connection.
func serverInput(e experiments.Env) (oracle.Server, error) {
	k := &knobs{e: e}
	s := oracle.Server{Host: "server", SYNACKRetries: int(k.int("server", "tcp_synack_retries")), InvalidRatelimit: k.ms("server", "tcp_invalid_ratelimit")}
	return s, k.err()
}

// losses are what a handshake loses.
type losses struct {
	syns    int // lost from the first on
	all     bool
	hidden  bool // no capture sees them: the sender's own OUTPUT chain, or a link that is down
	synacks bool // every SYN-ACK
	silent  bool // which the server's own OUTPUT chain drops
}

// handshake is an open of which SYNs or SYN-ACKs are lost: some SYNs, all of them, or all SYN-ACKs.
func handshake(f *File) (bound, error) {
	_, err := f.shaped("", "receive")
	l, lerr := f.losses()
	if err := errors.Join(err, lerr, f.listening()); err != nil {
		return bound{}, firstOf(err)
	}
	b := bound{}
	switch {
	case l.synacks:
		if f.RTT > 0 {
			return bound{}, misfitAt(f.connect().Pos, "of lost SYN-ACKs it knows links without a round-trip time only")
		}
		b.predict = func(e experiments.Env) (timeline.Timeline, error) { return f.synackLoss(e, l) }
		b.states = func(e experiments.Env) map[string][]string {
			t, err := f.synackLoss(e, l)
			return halfOpenStates(t, err)
		}
	case l.all:
		b.predict = func(e experiments.Env) (timeline.Timeline, error) {
			c, err := f.connectInput(e)
			if err != nil {
				return timeline.Timeline{}, err
			}
			t, err := oracle.Near(e.Facts, e.Start, c.Predict)
			if l.hidden {
				t.Events = nil
			}
			return t, err
		}
		b.states = func(experiments.Env) map[string][]string {
			return map[string][]string{"client": {"SYN-SENT", "CLOSED"}, "server": {"LISTEN"}}
		}
	default:
		b.predict = func(e experiments.Env) (timeline.Timeline, error) { return f.lateOpen(e, l) }
		b.states = func(e experiments.Env) map[string][]string {
			t, err := f.lateOpen(e, l)
			return openStates(l, t, err)
		}
	}
	return b, nil
}

// losses reads the faults of a handshake.
func (f *File) losses() (losses, error) {
	var l losses
	for _, x := range f.broken() {
		switch {
		case x.Off:
			return l, misfitAt(x.Pos, "it wants faults that are there from the start")
		case x.Kind == Link:
			l.all, l.hidden = true, true
		case x.Kind == Drop && x.Role == SYN && x.Nth == nil:
			l.all, l.hidden = true, l.hidden || x.At == "client"
		case x.Kind == Drop && x.Role == SYN && x.At == "client":
			return l, misfitAt(x.Pos, "of SYNs that the client's own OUTPUT chain drops it knows all only")
		case x.Kind == Drop && x.Role == SYN:
			for slices.Contains(x.Nth, l.syns+1) {
				l.syns++
			}
		case x.Kind == Drop && x.Role == SYNACK && x.Nth == nil && x.At != "router":
			l.synacks, l.silent = true, x.At == "server"
		default:
			return l, misfitAt(x.Pos, "of faults it knows drop: syn, with numbers or without, drop: synack without, and link: down")
		}
	}
	if l.synacks && (l.all || l.syns > 0) {
		return l, misfitAt(f.broken()[0].Pos, "it knows lost SYNs or lost SYN-ACKs, not both")
	}
	return l, nil
}

func (f *File) synackLoss(e experiments.Env, l losses) (timeline.Timeline, error) {
	c, err1 := f.connectInput(e)
	s, err2 := serverInput(e)
	if err := errors.Join(err1, err2); err != nil {
		return timeline.Timeline{}, err
	}
	s.Silent = l.silent
	return e.Ask(oracle.SYNACKLoss{Connect: c, Server: s})
}

func (f *File) lateOpen(e experiments.Env, l losses) (timeline.Timeline, error) {
	c, err := f.connectInput(e)
	if err != nil {
		return timeline.Timeline{}, err
	}
	return e.Ask(oracle.LateOpen{Connect: c, Lost: l.syns, RTT: f.RTT})
}

// openStates are those of an open that succeeds after some SYNs, or does not.
func openStates(l losses, t timeline.Timeline, err error) map[string][]string {
	if err != nil || t.Outcome == nil {
		return nil
	}
	if t.Outcome.What == timeline.ConnectError {
		return map[string][]string{"client": {"SYN-SENT", "CLOSED"}, "server": {"LISTEN"}}
	}
	sent := "(SYN-SENT)"
	if l.syns > 0 {
		sent = "SYN-SENT"
	}
	return map[string][]string{"client": {sent, "ESTABLISHED"}, "server": {"(LISTEN)", "(SYN-RECV)", "ESTABLISHED"}}
}

// halfOpenStates: each time a request vanishes the listener stands alone again, until the next SYN comes.
func halfOpenStates(t timeline.Timeline, err error) map[string][]string {
	states := map[string][]string{"client": {"SYN-SENT", "CLOSED"}}
	if err != nil {
		return states
	}
	server := []string{"(LISTEN)", "SYN-RECV"}
	for _, x := range t.Events {
		if x.What == timeline.RequestGone && x.Maybe {
			server = append(server, "(LISTEN)", "(SYN-RECV)")
		} else if x.What == timeline.RequestGone {
			server = append(server, "LISTEN", "(SYN-RECV)")
		}
	}
	states["server"] = server
	return states
}

// refusal is an open that is refused: by a port without a server, or by a rule.
func refusal(f *File) (bound, error) {
	if _, err := f.shaped(""); err != nil {
		return bound{}, err
	}
	faults := f.broken()
	closed := f.connect().Connect.Port != f.Server.Port
	switch {
	case len(faults) == 0 && !closed:
		return bound{}, misfitAt(f.connect().Pos, "it wants a port without a server, or the fault reject: syn")
	case len(faults) > 1, len(faults) == 1 && (faults[0].Kind != Reject || faults[0].Off || closed):
		return bound{}, misfitAt(faults[0].Pos, "it wants one fault at most, reject: syn, from the start")
	}
	return bound{
		predict: func(e experiments.Env) (timeline.Timeline, error) {
			c, err := f.connectInput(e)
			if err != nil {
				return timeline.Timeline{}, err
			}
			r := oracle.Refusal{Connect: c, RTT: f.RTT}
			for _, x := range faults {
				r.By = x.answer(e.Options.IPv6())
			}
			return e.Ask(r)
		},
		states: func(experiments.Env) map[string][]string {
			s := map[string][]string{"server": {"LISTEN"}}
			if !closed {
				s["client"] = []string{"(SYN-SENT)", "CLOSED"}
			}
			return s
		},
	}, nil
}

// firstOf is the first of joined errors: one reason is enough why a model does not fit.
func firstOf(err error) error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()[0]
	}
	return err
}
