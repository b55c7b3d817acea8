// Package link says what a link does to the TCP packets that cross it: how long each is under way. What carries the frames (package wire)
// follows it, and a prediction is made of it, before the first packet. It is pure.
//
// It is not for losses: those are a rule's at the end of the link, which counts what it takes.
package link

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Plan is what a link does besides its delay to the segments with data that the client sends, or with Every to each TCP packet of both ends. They are
// counted from 1 in the order in which they are put on the link, repeats included: what dies in the sender's own OUTPUT chain is not. Other packets
// cross it as if they took no room. The zero value does nothing.
type Plan struct {
	// Every says that each TCP packet is counted, and not those with data alone. False: those of the client with data.
	Every bool `json:"every,omitempty"`
	// Rate is how many bits of frames the link takes in a second, one frame after the other. 0: any number at once.
	Rate int64 `json:"rate,omitempty"`
	// Hold is how much longer than the delay the k-th segment is under way: Hold[k-1]. Those that follow wait behind it, so the order is kept.
	// After its end: no longer.
	Hold []time.Duration `json:"hold,omitempty"`
	// Back is as Hold, for each TCP packet that the server sends.
	Back []time.Duration `json:"back,omitempty"`
	// Behind is how much longer still: those that follow overtake it.
	Behind []time.Duration `json:"behind,omitempty"`
	// Flows are connections that are counted and held back each by itself, as a path with a queue for each flow does: what another one sends moves
	// neither their numbers nor their order. Of the rest of the plan only Every is about them.
	Flows []Flow `json:"flows,omitempty"`
}

// Flow is a connection that has a count of its own.
type Flow struct {
	Port uint16          `json:"port"` // its own at one of its ends; no other connection has it at either
	Hold []time.Duration `json:"hold"` // as a Plan's
	Back []time.Duration `json:"back"`
}

// Of is the plan of the connection with a port, as if it were alone on the link.
func (p Plan) Of(port uint16) Plan {
	i := slices.IndexFunc(p.Flows, func(f Flow) bool { return f.Port == port })
	if i < 0 {
		return p
	}
	return Plan{Every: p.Every, Hold: p.Flows[i].Hold, Back: p.Flows[i].Back}
}

// Zero reports whether the plan does nothing.
func (p Plan) Zero() bool {
	return p.Rate == 0 && len(p.Hold) == 0 && len(p.Back) == 0 && len(p.Behind) == 0 && len(p.Flows) == 0
}

// Reverse is the plan of the way from the server to the client, as if the server were the client.
func (p Plan) Reverse() Plan {
	out := Plan{Every: true, Hold: p.Back}
	for _, f := range p.Flows {
		out.Flows = append(out.Flows, Flow{Port: f.Port, Hold: f.Back, Back: f.Hold})
	}
	return out
}

// Counts reports whether a packet is one of those that are counted.
func (p Plan) Counts(tcp, data bool) bool { return data || tcp && p.Every }

// Longest is how much longer than the delay a segment is under way at most where so many of so many bytes are put on the link at once.
func (p Plan) Longest(segments, bytes int) time.Duration {
	longest := slices.Max(append(slices.Clone(p.Hold), 0)) + slices.Max(append(slices.Clone(p.Behind), 0))
	if p.Rate > 0 {
		longest += time.Duration(segments) * p.takes(bytes)
	}
	longest = max(longest, slices.Max(append(slices.Clone(p.Back), 0)))
	for _, f := range p.Flows {
		longest = max(longest, p.Of(f.Port).Longest(0, 0))
	}
	return longest
}

// takes is how long a frame takes to leave.
func (p Plan) takes(bytes int) time.Duration {
	return time.Duration(int64(bytes) * 8 * int64(time.Second) / p.Rate)
}

// Way is a direction of a link while frames cross it.
type Way struct {
	Plan
	Delay time.Duration // of every frame
	sent  int           // packets that were counted
	free  time.Duration // when the frame before has left
	last  time.Duration // when the one before arrives, if it is not held behind others
	flows map[uint16]*Way
}

// Of is the way of a packet between two ports: that of its flow, or else this one.
func (w *Way) Of(from, to uint16) *Way {
	for _, f := range w.Flows {
		if f.Port != from && f.Port != to {
			continue
		}
		if w.flows == nil {
			w.flows = map[uint16]*Way{}
		}
		if w.flows[f.Port] == nil {
			w.flows[f.Port] = &Way{Plan: w.Plan.Of(f.Port), Delay: w.Delay}
		}
		return w.flows[f.Port]
	}
	return w
}

// Due is when a frame arrives that is put on the link at an instant. bytes is its length, from the Ethernet header on, without the checksum behind it;
// counted is what Counts says of it.
func (w *Way) Due(at time.Duration, bytes int, counted bool) time.Duration {
	if !counted {
		return at + w.Delay
	}
	w.sent++
	if w.Rate > 0 {
		w.free = max(w.free, at) + w.takes(bytes)
		at = w.free
	}
	due := max(at+w.Delay+nth(w.Hold, w.sent), w.last)
	w.last = due
	return due + nth(w.Behind, w.sent)
}

// nth is the k-th of a list, from 1; 0 after its end.
func nth(list []time.Duration, k int) time.Duration {
	if k > len(list) {
		return 0
	}
	return list[k-1]
}

// Dice are thrown before a run, from a seed: the same seed gives the same numbers, on every machine.
type Dice struct{ r *rand.Rand }

// NewDice returns the dice for one use of a seed: what is drawn for one does not depend on whether the others are drawn.
func NewDice(seed uint64, use string) Dice {
	var stream uint64
	for _, c := range []byte(use) {
		stream = stream<<8 | uint64(c)
	}
	return Dice{rand.New(rand.NewPCG(seed, stream))}
}

// Chosen draws for each of n segments with a probability in percent, and returns the numbers, from 1, of those that it takes.
func (d Dice) Chosen(n int, percent float64) []int {
	var out []int
	for k := 1; k <= n; k++ {
		if d.r.Float64()*100 < percent {
			out = append(out, k)
		}
	}
	return out
}

// Spread draws a time from 0 up to most for each of n segments, in whole microseconds.
func (d Dice) Spread(n int, most time.Duration) []time.Duration {
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = time.Duration(d.r.Int64N(int64(most/time.Microsecond)+1)) * time.Microsecond
	}
	return out
}
