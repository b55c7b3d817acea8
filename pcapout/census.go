package pcapout

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"
)

// Decoded is a segment of a file, with where it was.
type Decoded struct {
	Segment
	Frame int64  // number of its packet in the file, from 1
	Point uint64 // see Point
}

// Census is what a file holds, segments or not.
type Census struct {
	Packets     int // of every kind
	TCP         int // segments, and ICMP errors about them
	Other       map[string]int
	Undecodable int   // malformed, or cut by the snap length inside a header
	WhyNot      error // of the first of these
	Truncated   int   // segments of which the file holds less than the packet
	Fragments   int   // segments of which only the first fragment could be read
	NoTime      int   // packets without a time stamp
	Links       []LinkType
	Points      []int // indexes of the interfaces that have packets
	Start, End  time.Time
}

// batch is how many segments go from the reading goroutine to the caller's at once. Two batches are filled while one is used.
const (
	batch   = 512
	batches = 3
)

// Segments reads r to its end and calls f with the time of the first packet, and with segments in the order of the file; what f is given is valid
// until it returns. Reading and
// decoding go on in a goroutine of its own, which has ended when Segments returns. The error is nil at the end of the file, that of ctx, that of
// f, or what Next returned: then the census counts what came before.
func Segments(ctx context.Context, r *Reader, f func(start time.Time, b []Decoded) error) (Census, error) {
	full, free := make(chan []Decoded, batches), make(chan []Decoded, batches)
	for range batches {
		free <- make([]Decoded, 0, batch)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var c Census
	var rerr error
	go func() {
		defer close(full)
		rerr = c.fill(ctx, r, free, full)
	}()
	var err error
	for b := range full { // c.Start was set before the first batch was sent, and stays
		if err == nil {
			if err = f(c.Start, b); err != nil {
				stop()
			}
		}
		free <- b[:0]
	}
	// full is closed: c and rerr are the goroutine's last words.
	switch {
	case err != nil:
		return c, err
	case errors.Is(rerr, io.EOF) && !errors.Is(rerr, io.ErrUnexpectedEOF):
		return c, nil
	}
	return c, rerr
}

// fill decodes packets into batches until the file ends.
func (c *Census) fill(ctx context.Context, r *Reader, free <-chan []Decoded, full chan<- []Decoded) error {
	c.Other = map[string]int{}
	var frame Frame
	for {
		b := <-free // the caller gives each batch back
		err := ctx.Err()
		for err == nil && len(b) < batch {
			if err = r.Next(&frame); err != nil {
				break
			}
			b = c.take(b, &frame)
		}
		full <- b // there is room for all batches
		if err != nil {
			return err
		}
	}
}

// take counts a packet, and appends its segment to b if it has one.
func (c *Census) take(b []Decoded, f *Frame) []Decoded {
	if c.Packets++; c.Packets == 1 {
		c.Start = f.Time
	}
	if f.Time.After(c.End) {
		c.End = f.Time
	}
	if f.NoTime {
		c.NoTime++
	}
	if !slices.Contains(c.Points, f.Interface) {
		c.Points = append(c.Points, f.Interface)
		if !slices.Contains(c.Links, f.Link) {
			c.Links = append(c.Links, f.Link)
		}
	}
	n := len(b)
	b = b[:n+1] // what is there from before has memory for SACK blocks
	d := &b[n]
	switch err := DecodeInto(&d.Segment, f.Link, f.Packet); {
	case err == nil:
	case errors.Is(err, ErrNotTCP):
		c.Other[OtherKind(err)]++
		return b[:n]
	default:
		if c.Undecodable++; c.WhyNot == nil {
			c.WhyNot = err
		}
		return b[:n]
	}
	c.TCP++
	if d.Truncated {
		c.Truncated++
	}
	if d.Fragment {
		c.Fragments++
	}
	d.Frame, d.Point = f.Number, Point(f)
	return b
}
