package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/analyse"
	"github.com/tcplab/tcplab/internal/report/page"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/pcapout"
)

// maxAlso bounds how many other connections --follow names.
const maxAlso = 20

// wants reports whether c is the connection whose ladder is drawn, and chooses it where it is.
func (s *survey) wants(c *analyse.Connection) bool {
	if s.chosen == c {
		return true
	}
	if c.Number <= s.newest { // asked before
		return false
	}
	s.newest = c.Number
	switch {
	case s.follow != nil && !s.follow(c.Client, c.Server), s.follow == nil && c.Number != s.f.stream:
		return false
	case s.chosen == nil:
		s.chosen = c
		return true
	}
	s.alsoAll++
	if len(s.also) < maxAlso {
		s.also = append(s.also, c.Number)
	}
	return false
}

func (s *survey) packet(c *analyse.Connection, n analyse.Named) {
	if s.wants(c) {
		s.steps.add(n, string(n.What), true)
	}
}

func (s *survey) copied(c *analyse.Connection, n analyse.Named) {
	if s.wants(c) {
		s.steps.add(n, "copy", false)
	}
}

func (s *survey) renamed(c *analyse.Connection, index int, n analyse.Named) {
	if s.chosen == c {
		s.steps.rename(index, n)
	}
}

// ended takes a connection of which nothing more is expected.
func (s *survey) ended(x *analyse.Summary) {
	s.doc.File.Connections++
	s.doc.Fates[string(x.Fate)]++
	if x.Left == analyse.TooMany {
		s.doc.File.GivenUp++
	}
	s.doc.File.Copies += x.Copies
	if s.filter != nil && !s.filter(x.Client, x.Server) {
		return
	}
	mine := s.chosen != nil && s.chosen.Number == x.Number
	if (s.f.stream >= 0 || s.follow != nil) && !mine {
		return
	}
	c := s.connection(x)
	switch {
	case mine:
		s.doc.Connections = []result.Connection{c}
	case s.out != nil:
		if err := s.out.add(&c); err != nil && s.err == nil {
			s.err = err
		}
	default:
		s.rows.Add(c)
	}
}

// connection is a summary in the form of the document.
func (s *survey) connection(x *analyse.Summary) result.Connection {
	at := func(t time.Time) result.Seconds { return result.Seconds(t.Sub(s.origin)) }
	c := result.Connection{
		Number: x.Number, Client: x.Client.String(), Server: x.Server.String(), First: x.First + 1, Start: at(x.Start), End: at(x.End), Packets: x.Packets,
		Handshake: x.HasSYN, Established: x.Established, SACK: x.SACK, FromClient: half(&x.Ends[0]), FromServer: half(&x.Ends[1]), Copies: x.Copies,
		Unseen: x.Unseen, Waited: result.Seconds(x.Waited), Fate: string(x.Fate), ResetBy: x.RSTBy, Left: string(x.Left), Findings: []result.Finding{},
	}
	if x.RTT > 0 {
		rtt := result.Seconds(x.RTT)
		c.RTT = &rtt
	}
	for i := range x.Findings {
		f := &x.Findings[i]
		out := result.Finding{Kind: string(f.Kind), Grade: f.Grade.String(), Host: f.Host, Text: s.tell(f.Text), N: f.N, Cost: result.Seconds(f.Cost)}
		for _, g := range f.Gaps {
			out.Gaps = append(out.Gaps, result.Seconds(g))
		}
		out.Like, out.Try = resembles(f, x)
		c.Findings = append(c.Findings, out)
	}
	return c
}

// tell joins sentences, in the language that was asked for. A document for programs is in English always.
func (s *survey) tell(sentences []string) string {
	if s.lang != page.Chinese || s.f.json {
		return strings.Join(sentences, " ")
	}
	var b strings.Builder
	for _, x := range sentences {
		zh, _ := page.Translate(x)
		b.WriteString(zh)
	}
	return b.String()
}

func half(e *analyse.EndSummary) result.HalfFlow {
	h := result.HalfFlow{Packets: e.Packets, DataPackets: e.DataPackets, Bytes: e.Bytes, BytesAgain: e.Again, Kinds: map[string]int{},
		WindowClosed: e.WindowClosed, WindowClosedFor: result.Seconds(e.WindowClosedFor)}
	for w, n := range e.Counts {
		h.Kinds[string(w)] = n
	}
	return h
}

// describe says what was read.
func (s *survey) describe(info pcapout.Info, c *pcapout.Census, most int, err error) {
	f := &s.doc.File
	f.Format, f.Comment, f.Packets, f.TCP, f.Other, f.Undecodable = info.Format, info.Comment, c.Packets, c.TCP, c.Other, c.Undecodable
	if info.Compressed {
		f.Format += ", gzip"
	}
	f.Truncated, f.Fragments, f.NoTime, f.MostAtOnce = c.Truncated, c.Fragments, c.NoTime, most
	f.Links, f.Interfaces = []string{}, []string{}
	for _, l := range c.Links {
		f.Links = append(f.Links, l.String())
	}
	for _, i := range info.Interfaces {
		if i.Name != "" && !slices.Contains(f.Interfaces, i.Name) {
			f.Interfaces = append(f.Interfaces, i.Name)
		}
		if i.Statistics != nil {
			f.Dropped += i.Statistics.Dropped
		}
	}
	if c.WhyNot != nil {
		f.WhyNot = c.WhyNot.Error()
	}
	if c.Packets > 0 {
		f.Start, f.Duration = c.Start.UTC().Format(time.RFC3339Nano), result.Seconds(c.End.Sub(c.Start))
	}
	if err != nil {
		f.Cut = err.Error()
	}
}

// connectionWriter writes the JSON document piece by piece, so that it needs no memory for connections that ended.
type connectionWriter struct {
	w     io.Writer
	wrote int
}

func newConnectionWriter(w io.Writer) *connectionWriter { return &connectionWriter{w: w} }

func (c *connectionWriter) begin() error {
	_, err := fmt.Fprintf(c.w, "{\n  \"schema\": %q,\n  \"connections\": [", result.AnalysisSchema)
	return err
}

func (c *connectionWriter) add(x *result.Connection) error {
	if c.wrote == 0 {
		if err := c.begin(); err != nil {
			return err
		}
	}
	sep := ","
	if c.wrote++; c.wrote == 1 {
		sep = ""
	}
	b, err := json.MarshalIndent(x, "    ", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.w, "%s\n    %s", sep, b)
	return err
}

// finish writes what is not a connection yet: those of doc, and the rest.
func (c *connectionWriter) finish(doc *result.Analysis) error {
	if c.wrote == 0 && len(doc.Connections) > 0 || doc.Packets != nil {
		return writeJSON(c.w, doc)
	}
	if c.wrote == 0 {
		if err := c.begin(); err != nil {
			return err
		}
	}
	file, err := json.MarshalIndent(doc.File, "  ", "  ")
	if err != nil {
		return err
	}
	fates, err := json.MarshalIndent(doc.Fates, "  ", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.w, "\n  ],\n  \"file\": %s,\n  \"fates\": %s\n}\n", file, fates)
	return err
}

// steps are the packets of a ladder, without most of those that only go on as the ones before.
type steps struct {
	all     bool
	list    []step
	plain   int // ordinary packets at the end of list
	leftOut int
	count   int // packets so far, copies aside
	origin  time.Time
}

type step struct {
	result.Step
	index int // in the connection; -1: a copy
	plain bool
}

// What is kept of ordinary packets: the first of the connection, and some before and after each that is not.
const (
	keepFirst  = 24
	keepAround = 3
	maxSteps   = 4000
)

// add appends a packet.
func (s *steps) add(n analyse.Named, what string, counted bool) {
	if len(s.list) == 0 {
		s.origin = n.Time
	}
	x := step{index: -1, plain: n.Detail == "" && (what == "data" || what == "ack" || what == "copy"), Step: result.Step{Frame: n.Segment + 1,
		At: result.Seconds(n.Time.Sub(s.origin)), From: n.From, What: what, N: n.N, RelSeq: n.RelSeq, RelAck: n.RelAck, Len: n.Len, Detail: n.Detail}}
	if counted {
		x.index = s.count
		s.count++
	}
	s.list = append(s.list, x)
	if !x.plain || len(s.list) <= keepFirst || s.all {
		s.plain = 0
		if !s.all && len(s.list) > maxSteps { // keep the beginning and the end
			s.drop(maxSteps/4, maxSteps/2)
		}
		return
	}
	if s.plain++; s.plain > 2*keepAround {
		s.drop(len(s.list)-keepAround-1, 1)
		s.plain--
	}
}

// drop leaves n steps from i on out, and says so in the one before.
func (s *steps) drop(i, n int) {
	for _, x := range s.list[i : i+n] {
		s.list[i-1].Skipped += 1 + x.Skipped
	}
	s.leftOut += n
	s.list = slices.Delete(s.list, i, i+n)
}

// rename gives a packet another name, if it is still there.
func (s *steps) rename(index int, n analyse.Named) {
	for i := len(s.list) - 1; i >= 0; i-- {
		if x := &s.list[i]; x.index == index {
			x.What, x.N, x.Detail = string(n.What), n.N, n.Detail
			return
		}
	}
}

// done puts the steps into the document.
func (s *steps) done(doc *result.Analysis) {
	doc.Packets, doc.LeftOut = make([]result.Step, len(s.list)), s.leftOut
	for i, x := range s.list {
		doc.Packets[i] = x.Step
	}
}
