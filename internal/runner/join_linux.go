package runner

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/evidence"
	"github.com/tcplab/tcplab/internal/judge"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// joining gives each event of a tracepoint to the packets that it is about: the same addresses and numbers, and nearest in time. A repeat is
// the same packet again, byte for byte, so that only time tells them apart; two of the same event never go to one packet. TCP may send
// several segments again at once (GSO, which stays in software where the offloads are off): one event is then about several packets.
type joining struct {
	v       *view
	packets []result.Packet
	events  []evidence.Event
	joined  [][]int // beside events: indices of packets
}

// joinWithin is how far an event may be from its packet. A packet is freed in the softirq that received it, but may have to wait for the
// program that owns the socket; a repeat can wait for a neighbour.
const joinWithin = time.Second

func (j *joining) join() {
	order := make([]int, len(j.events))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(j.events[a].Mono, j.events[b].Mono) })
	taken := map[evidence.Kind]map[int]bool{}
	for _, i := range order {
		e := j.events[i]
		kind := e.Kind
		if kind == evidence.SynAck {
			kind = evidence.Retransmit
		}
		if taken[kind] == nil {
			taken[kind] = map[int]bool{}
		}
		j.joined[i] = j.nearest(e, taken[kind])
		for _, k := range j.joined[i] {
			taken[kind][k] = true
			p := &j.packets[k]
			switch {
			case e.Kind == evidence.Drop && (e.Reason != notSpecified || p.Fate != result.Delivered):
				p.DropReason, p.DropHook = e.Reason, e.Where
			case e.Kind != evidence.Drop:
				p.Cause = e.Cause
			}
		}
	}
}

// segments is how many packets an event is about; 1 for one that is in no capture.
func (j *joining) segments(i int) int { return max(len(j.joined[i]), 1) }

const notSpecified = "NOT_SPECIFIED"

// nearest are the indices of the packets that an event is about: of each sequence number the copy that is nearest in time.
func (j *joining) nearest(e evidence.Event, taken map[int]bool) []int {
	best, least := map[uint32]int{}, map[uint32]time.Duration{}
	for i, s := range j.v.sights {
		if taken[i] || !about(e, s) {
			continue
		}
		p := j.packets[i]
		at := p.At()
		if e.Host == p.To && p.ArrivedAt != nil {
			at = p.ArrivedAt.Duration()
		}
		d, seq := (e.Mono - j.v.origin - at).Abs(), s.segment.Seq
		if so, ok := least[seq]; d < joinWithin && (!ok || d < so) {
			best[seq], least[seq] = i, d
		}
	}
	return slices.Sorted(maps.Values(best))
}

// about reports whether an event can be about a packet, by addresses and numbers.
func about(e evidence.Event, s sight) bool {
	seg := s.segment
	switch e.Kind {
	case evidence.Drop:
		return e.TCP && e.Src == seg.Src && e.Dst == seg.Dst && e.Seq == seg.Seq && e.Ack == seg.Ack && e.Len == seg.Length && e.Flags == uint8(seg.Flags)
	case evidence.Retransmit: // more than one segment may be in it
		return e.Errno == 0 && e.Host == s.from && e.Src == seg.Src && e.Dst == seg.Dst && seg.Seq-e.Seq < max(e.EndSeq-e.Seq, 1)
	case evidence.SynAck:
		return e.Host == s.from && e.Src == seg.Src && e.Dst == seg.Dst && e.Seq == seg.Seq && seg.Flags&synAck == synAck
	}
	return false
}

const synAck = 0x12

// sides is what the captures, the tracepoints and the counters say of the same packets, at each host.
func (r *run) sides(j *joining) []judge.Side {
	var out []judge.Side
	for _, host := range []string{"client", "server"} {
		s := judge.Side{Host: host}
		if c := r.told.after[host].Since(r.told.before[host]); c != nil {
			s.RetransSegs, s.Timeouts = int(c["TcpRetransSegs"]), int(c["TcpExtTCPTimeouts"])
		}
		for i, f := range r.rules {
			if f.Host == host {
				s.Rules += int(r.res.Rules[i].Packets)
				s.RuleGone = s.RuleGone || r.uncounted[i] != nil
			}
		}
		j.count(&s, r.host(host).Addr, r.told)
		out = append(out, s)
	}
	for _, p := range r.res.Packets {
		late := j.v.origin+lastSeen(p) >= r.told.from // the kernel may have been asked before it was told of
		for i := range out {
			s := &out[i]
			if p.Fate == result.Dropped && p.ArrivedAt != nil && s.Host == p.To && !(late && p.DropReason != netfilterDrop) {
				s.Dropped++
				if p.DropReason == netfilterDrop {
					s.DroppedTold++
				}
			}
			if timeline.What(p.What).Again() && s.Host == p.From && !(late && p.Cause == "") {
				s.Repeats++
				if p.Cause != "" {
					s.RepeatsTold++
				} else if s.Untold == 0 {
					s.Untold = p.ID
				}
			}
		}
	}
	return out
}

// lastSeen is when a packet reached its receiver's capture, or its sender's where it reached no other.
func lastSeen(p result.Packet) time.Duration {
	if p.ArrivedAt != nil {
		return p.ArrivedAt.Duration()
	}
	return p.At()
}

const netfilterDrop = "NETFILTER_DROP"

// count adds up a host's events.
func (j *joining) count(s *judge.Side, addr netip.Addr, t *testimony) {
	for i, e := range j.events {
		if e.Host != s.Host {
			continue
		}
		while := e.Mono >= t.from // the counters may have it or not
		switch {
		case e.Kind == evidence.Drop && e.Reason == netfilterDrop:
			s.Drops++
			if while {
				s.DropsMaybe++
			}
			if e.Src.Addr() == addr {
				s.OwnDrops++
			}
		case e.Kind == evidence.Retransmit && e.Errno != 0:
			s.Failed++
		case e.Kind == evidence.Retransmit, e.Kind == evidence.SynAck:
			s.Sent += j.segments(i)
			if while {
				s.SentMaybe += j.segments(i)
			} else if e.Cause == evidence.CauseRTO || e.Cause == evidence.CauseRequestTimer {
				s.ByTimer++
			}
			if len(j.joined[i]) == 0 && !j.died(e) {
				s.Uncaptured++
			}
		}
	}
}

// died reports whether what was sent again was thrown away before a capture could see it: by a rule behind the sender's TCP, by a link that
// is down, or after it had waited for a neighbour.
func (j *joining) died(repeat evidence.Event) bool {
	return slices.ContainsFunc(j.events, func(e evidence.Event) bool {
		return e.Kind == evidence.Drop && e.Host == repeat.Host && e.Src == repeat.Src && e.Dst == repeat.Dst && e.Seq-repeat.Seq < max(repeat.EndSeq-repeat.Seq, 1)
	})
}
