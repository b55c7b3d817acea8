package report

import (
	"regexp"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/tcplab/tcplab/internal/result"
)

// An end says how far a packet got, in terms of the two capture points between which it travels:
//
//	sender ── netfilter OUTPUT ── capture ──── wire ──── capture ── netfilter INPUT ── receiver
type end int

const (
	endUnknown   end = iota // nothing is known beyond that it was seen
	endDelivered            // reached the receiver
	endReceiver             // passed the receiver's capture point and died behind it
	endWire                 // passed the sender's capture point and never reached the receiver's
	endSender               // died before the sender's own capture point
)

// endOf reads a packet's end from its fate and from where it was seen.
func endOf(p *result.Packet) end {
	switch {
	case p == nil || p.Fate == "":
		return endUnknown
	case p.Fate == result.Delivered:
		return endDelivered
	case p.ArrivedAt != nil:
		return endReceiver
	case p.SentAt != nil:
		return endWire
	default:
		return endSender
	}
}

const (
	wireGap    = 4 // empty cells in front of a receiver that a packet did not reach
	leastShaft = 26
	mostShaft  = 44
)

// counted matches how label writes a repetition; fit turns "SYN again (1 of 2)" into "SYN again 1/2" where cells are few.
var counted = regexp.MustCompile(`\((\d+) of (\d+)\)$`)

// fit shortens a label until an arrow of n cells can carry it.
func (p *pen) fit(label string, n int, e end) string {
	room := n - 7 // the shaft around the label and the tip
	if e == endWire {
		room = n - 6 - wireGap
	}
	if ansi.StringWidth(label) > room {
		label = counted.ReplaceAllString(label, "$1/$2")
	}
	return p.trim(label, room)
}

// arrow draws a packet in n cells, from left to right or back: a shaft that carries its label, and at its tip an arrowhead, a cross,
// or both where the packet reached the receiver's capture and died behind it.
func (p *pen) arrow(label string, n int, leftward bool, e end) string {
	label = p.fit(p.text(label), n, e)
	shaft := func(n int) string { return strings.Repeat(p.text("─"), max(n, 0)) }
	cross := p.text("✗")
	used := ansi.StringWidth(label)
	if e == endSender {
		gap := spaces(n - used - 2)
		if leftward {
			return gap + label + " " + p.paint(red, cross)
		}
		return p.paint(red, cross) + " " + label + gap
	}
	head, tip, gap := p.text("►"), "", ""
	if leftward {
		head = p.text("◄")
	}
	switch e {
	case endUnknown:
		head = ""
	case endReceiver:
		tip = cross
	case endWire:
		head, tip, gap = "", cross, spaces(wireGap)
	}
	fixed := used + 4 + ansi.StringWidth(head) + ansi.StringWidth(tip) + len(gap)
	long := shaft(n - fixed)
	if leftward {
		return gap + p.paint(red, tip) + head + long + " " + label + " " + shaft(2)
	}
	return shaft(2) + " " + label + " " + long + head + p.paint(red, tip) + gap
}
