package page

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// The time-sequence graph, in SVG units. Its colours are those of tcptrace as far as they can be read on white: segments black, repeats red,
// acknowledgements green, SACK purple, the edge of the receive window yellow.
const (
	seqWidth  = 960
	seqHeight = 380
	seqLeft   = 84
	seqRight  = 944
	seqTop    = 16
	seqBase   = 340
)

// seqView is the graph of one direction of one connection.
type seqView struct {
	Width, Height            int
	Left, Right, Top, Base   int
	Title                    text
	Segments, Repeats, SACKs []mark
	Lost                     bool   // some segment was
	ACKs                     string // path data
	Edge                     string // path data of the receive window's right edge; empty: it is not known, or above the picture all the time
	EdgeText                 text   // what of the edge is not in the picture
	Times, Numbers           []tick
}

// mark is an upright stroke: the bytes of a segment at the time when it was sent.
type mark struct {
	X, Y0, Y1 string
	Lost      bool
	Title     string
}

// flow is one direction of a connection.
type flow struct {
	from     string
	src, dst int
}

// busiest finds the direction that carries most data. A SYN with data counts.
func busiest(packets []result.Packet) (f flow, bytes int) {
	sum := map[flow]int{}
	for _, p := range packets {
		k := flow{p.From, p.SrcPort, p.DstPort}
		sum[k] += p.Len
		if sum[k] > bytes {
			f, bytes = k, sum[k]
		}
	}
	return f, bytes
}

// fewSegments is how many segments a graph must have to show anything.
const fewSegments = 2

// sequence draws the graph of the direction that carries most data; nil where that is next to none.
func (c *composer) sequence(r *result.Result) *seqView {
	f, bytes := busiest(r.Packets)
	if bytes == 0 {
		return nil
	}
	var sent, back []result.Packet
	var lo, hi time.Duration
	top := uint32(1)
	for _, p := range r.Packets {
		switch (flow{p.From, p.SrcPort, p.DstPort}) {
		case f:
			if p.Len == 0 {
				continue
			}
			if len(sent) == 0 {
				lo = p.At()
			}
			sent = append(sent, p)
			top = max(top, p.RelSeq+uint32(p.Len))
		case flow{from: p.From, src: f.dst, dst: f.src}:
			if p.From == f.from || len(sent) == 0 {
				continue
			}
			back = append(back, p)
		default:
			continue
		}
		hi = max(hi, p.At(), arrival(p))
	}
	if len(sent) < fewSegments {
		return nil
	}
	edges, most := edges(r.Packets, f)
	if most > top && float64(most) <= mostHeadroom*float64(top) {
		top = most
	}
	g := &graph{lo: lo, hi: hi, top: top}
	v := &seqView{Width: seqWidth, Height: seqHeight, Left: seqLeft, Right: seqRight, Top: seqTop, Base: seqBase}
	v.Title = c.textf("What the %s sent, from its first byte on: port %d to %d.", c.clean(f.from), f.src, f.dst)
	c.strokes(v, g, sent)
	g.answers(v, back)
	g.edge(v, edges)
	switch {
	case len(edges) > 0 && v.Edge == "":
		v.EdgeText = c.textf("The edge of the receive window stays above this picture, up to %d: it does not stop the sender.", most)
	case most > top:
		v.EdgeText = c.textf("Where the line of the receive window leaves this picture, its edge is above, up to %d.", most)
	}
	v.Times, v.Numbers = g.axes()
	return v
}

// arrival is when a packet came to where it went; the time at which it was sent, where it did not.
func arrival(p result.Packet) time.Duration {
	if p.ArrivedAt != nil {
		return p.ArrivedAt.Duration()
	}
	return p.At()
}

// graph maps times and numbers to places.
type graph struct {
	lo, hi time.Duration
	top    uint32
}

func (g *graph) x(t time.Duration) float64 {
	if g.hi <= g.lo {
		return seqLeft + 20
	}
	return seqLeft + 20 + (seqRight-seqLeft-40)*float64(min(max(t, g.lo), g.hi)-g.lo)/float64(g.hi-g.lo)
}

func (g *graph) y(n uint32) float64 {
	return seqBase - 10 - (seqBase-seqTop-30)*float64(min(n, g.top))/float64(g.top)
}

// strokes draws the segments.
func (c *composer) strokes(v *seqView, g *graph, sent []result.Packet) {
	for _, p := range sent {
		m := mark{X: num(g.x(p.At())), Y0: num(g.y(p.RelSeq)), Y1: num(min(g.y(p.RelSeq+uint32(p.Len)), g.y(p.RelSeq)-3)), Lost: p.Fate != result.Delivered,
			Title: fmt.Sprintf("#%d %d–%d, %.6f s", p.ID, p.RelSeq, p.RelSeq+uint32(p.Len)-1, p.At().Seconds())}
		v.Lost = v.Lost || m.Lost
		if timeline.What(p.What).Again() {
			v.Repeats = append(v.Repeats, m)
		} else {
			v.Segments = append(v.Segments, m)
		}
	}
}

// answers draws what came back: the acknowledgements as a staircase, and the SACK blocks.
func (g *graph) answers(v *seqView, back []result.Packet) {
	var acks strings.Builder
	last := uint32(0)
	for i, p := range back {
		at := arrival(p)
		if p.ArrivedAt == nil {
			continue // the sender never learnt of it
		}
		if strings.Contains(p.Flags, "ACK") {
			x := num(g.x(at))
			if acks.Len() == 0 {
				fmt.Fprintf(&acks, "M%d %s", seqLeft+20, num(g.y(last)))
			}
			fmt.Fprintf(&acks, "H%sV%s", x, num(g.y(max(p.RelAck, last))))
			last = max(p.RelAck, last)
		}
		for _, b := range p.SACK {
			v.SACKs = append(v.SACKs, mark{X: num(g.x(at) + float64(i%3)), Y0: num(g.y(b[0])), Y1: num(g.y(b[1])), Title: fmt.Sprintf("SACK %d–%d", b[0], b[1])})
		}
	}
	if acks.Len() > 0 {
		fmt.Fprintf(&acks, "H%d", seqRight-12)
	}
	v.ACKs = acks.String()
}

// mostHeadroom is how many times as high as the data the picture may become for the window's edge to be in it.
const mostHeadroom = 1.5

// windowEdge is how far the sender may send from a time on: the acknowledged number plus the window.
type windowEdge struct {
	at   time.Duration
	edge uint64
}

// edges are those that the answers bring to the sender of a flow, the SYN-ACK's first, and the highest. There are none where the scale is not known: in a capture
// without both SYNs.
func edges(packets []result.Packet, f flow) (out []windowEdge, most uint32) {
	var scale [2]*int // of the sender's SYN, and of the receiver's
	for _, p := range packets {
		switch {
		case p.WindowScale == nil:
		case p.From == f.from && p.SrcPort == f.src && p.DstPort == f.dst:
			scale[0] = p.WindowScale
		case p.From != f.from && p.SrcPort == f.dst && p.DstPort == f.src:
			scale[1] = p.WindowScale
		}
	}
	if scale[0] == nil || scale[1] == nil {
		return nil, 0
	}
	shift := 0
	if *scale[0] >= 0 && *scale[1] >= 0 {
		shift = min(*scale[1], 14)
	}
	for _, p := range packets {
		if p.From == f.from || p.SrcPort != f.dst || p.DstPort != f.src || p.ArrivedAt == nil || !strings.Contains(p.Flags, "ACK") || strings.Contains(p.Flags, "RST") {
			continue
		}
		window := uint64(max(p.Window, 0))
		if p.WindowScale == nil { // not that of a SYN
			window <<= shift
		}
		e := windowEdge{arrival(p), uint64(p.RelAck) + window}
		most = max(most, uint32(min(e.edge, math.MaxUint32)))
		out = append(out, e)
	}
	return out, most
}

// edge draws the edge of the receive window as a staircase, which breaks where it is above the picture.
func (g *graph) edge(v *seqView, edges []windowEdge) {
	var path strings.Builder
	open := false
	for i, e := range edges {
		x, end := num(g.x(e.at)), fmt.Sprint(seqRight-12)
		if i+1 < len(edges) {
			end = num(g.x(edges[i+1].at))
		}
		if e.edge > uint64(g.top) {
			open = false
			continue
		}
		y := num(g.y(uint32(e.edge)))
		if open {
			fmt.Fprintf(&path, "V%sH%s", y, end)
		} else {
			fmt.Fprintf(&path, "M%s %sH%s", x, y, end)
		}
		open = true
	}
	v.Edge = path.String()
}

// axes are the ticks of both axes. Times count from the first segment.
func (g *graph) axes() (times, numbers []tick) {
	if span := g.hi - g.lo; span > 0 {
		times = ticks(span, func(t time.Duration) float64 { return g.x(g.lo + t) })
	}
	for i := uint32(0); i <= 4; i++ {
		n := uint32(uint64(g.top) * uint64(i) / 4)
		numbers = append(numbers, tick{num(g.y(n)), fmt.Sprint(n)})
	}
	return times, numbers
}
