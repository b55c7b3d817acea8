package experiments

import (
	"fmt"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/internal/result"
)

const (
	jitterFlag = "jitter"
	// jitterShare is which part of the RTT the jitter may be at most. So a round trip takes at most one and a half, and a tail loss probe, which
	// waits for two (tcp_schedule_loss_probe), and the RTO stay behind the acknowledgement that they wait for.
	jitterShare = 4
)

// jitterParams are the parameters of an experiment that is predicted with each packet's own delay.
func jitterParams() []Param {
	return []Param{jitterParam(fmt.Sprintf("of the first %d packets each way, and the order is kept", throws)), seedParam()}
}

// flowThrows is for how many packets of each connection, each way, the dice are thrown where several share the link.
const flowThrows = 50

// flowJitterParams are jitterParams of an experiment with Flows.
func flowJitterParams() []Param {
	return []Param{jitterParam(fmt.Sprintf("of the first %d packets of each connection each way, and each connection keeps its order", flowThrows)), seedParam()}
}

func jitterParam(of string) Param {
	return Param{Flag: jitterFlag, Doc: "how much longer than half the RTT each TCP packet of both ends is under way at most, up to a quarter of --rtt; the dice say how much, " + of,
		Kind: Time, Max: int64(rttMost / jitterShare)}
}

// jitter is how much longer than half the RTT a packet is under way at most.
func (o Options) jitter() time.Duration { return o.Duration(jitterFlag) }

// longestTrip is how long a packet and the answer to it are under way at most.
func (o Options) longestTrip() time.Duration { return o.rtt() + 2*o.jitter() }

// jittered is what the dice make of a link on which each TCP packet of both ends is held back for a time of its own. It depends on the
// options alone, so it is known before the run.
func (o Options) jittered() link.Plan {
	most := o.jitter()
	if most == 0 {
		return link.Plan{}
	}
	return link.Plan{Every: true, Hold: o.dice(jitterFlag).Spread(throws, most), Back: o.dice(jitterFlag+" back").Spread(throws, most)}
}

// jitteredFlow is jittered of one of several connections, known by a port: alone on the link, as it were.
func (o Options) jitteredFlow(port uint16) link.Plan {
	most := o.jitter()
	if most == 0 {
		return link.Plan{}
	}
	draw := func(use string) []time.Duration {
		return o.dice(fmt.Sprintf("%s:%d", use, port)).Spread(flowThrows, most)
	}
	return link.Plan{Every: true, Hold: draw(""), Back: draw("b")} // dice tell eight letters apart
}

// jitteredFlows is what the dice make of a link that several connections share.
func (o Options) jitteredFlows(ports []uint16) link.Plan {
	var out link.Plan
	for _, port := range ports {
		if p := o.jitteredFlow(port); !p.Zero() {
			out.Every, out.Flows = true, append(out.Flows, link.Flow{Port: port, Hold: p.Hold, Back: p.Back})
		}
	}
	return out
}

// soundJitter refuses a jitter that the link cannot have, or that is not modelled.
func (o Options) soundJitter() error {
	most, rtt := o.jitter(), o.rtt()
	switch {
	case most == 0 && o["seed"] != "":
		return fmt.Errorf("--seed=%s: there are no dice to throw: want --%s with it", o["seed"], jitterFlag)
	case most > 0 && rtt == 0:
		return fmt.Errorf("--%s=%v: a veth holds nothing back: want --rtt with it, %v or more", jitterFlag, most, jitterShare*most)
	case most > rtt/jitterShare:
		return fmt.Errorf("--%s=%v with --rtt=%v: want a quarter of the RTT at most, %v: a timer that is made of one round trip may meet a longer one beyond that", jitterFlag, most, rtt, rtt/jitterShare)
	}
	return nil
}

// jitters reports whether an experiment has the parameter as it is here. One with the other impairments has a link of its own.
func (x *Experiment) jitters() bool {
	_, has := x.param(jitterFlag)
	_, own := x.param("loss")
	return has && !own
}

// overJitter gives an experiment that has the parameter its link. What the link cannot have is refused by Plan.
func (x *Experiment) overJitter() {
	if !x.jitters() {
		return
	}
	setup, story := x.Setup, x.Story
	x.Setup = func(o Options) Setup {
		s := setup(o)
		if x.Flows != nil {
			s.Link = o.jitteredFlows(x.Flows(o))
		} else {
			s.Link = o.jittered()
		}
		return s
	}
	x.Story = func(r *result.Result) []result.Sentence {
		told := story(r)
		if r.Link != nil && r.Link.Every {
			told = append(told, result.Sentence{Text: jitterTold(*r.Link)})
		}
		return told
	}
}

// jitterTold says what a link with a jitter did.
func jitterTold(l result.Link) string {
	how, draws := "their order", slices.Concat(l.Hold, l.Back)
	if len(l.Flows) > 0 {
		how = "the order of each connection"
	}
	for _, f := range l.Flows {
		draws = slices.Concat(draws, f.Hold, f.Back)
	}
	return fmt.Sprintf("The link held each packet back for another time, up to %s, and kept %s. How long was drawn before the run, and predicted with.", ms(slices.Max(draws).Duration()), how)
}

// closesUnderJitter keeps a window of one segment closed by one segment, before Linux 6.6. What tcplab's own link delivers, the link that holds packets
// back, takes less of the receive buffer than what comes straight from the other TCP, and there half of what is left was a segment again; of
// a quarter none is. Since 6.6 the kernel measures how much a segment takes, and does not read this.
var closesUnderJitter = []Setting{{Host: "server", Name: "net.ipv4.tcp_adv_win_scale", Value: "-2", Origin: "--" + jitterFlag, Optional: true}}
