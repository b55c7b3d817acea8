// Package spec reads experiments that are written as files: what is between two hosts, what is lost by its part in a TCP connection, what
// the client does, and what is expected, by the kernel's rules or line by line. A file becomes an experiments.Experiment, so everything that
// can be done with one of the catalogue can be done with it.
//
// It is not for running: what a file says is carried out by the verbs of package lab, and judged as every run is.
//
// Its one trap: a file is checked in three steps, YAML, the JSON schema, and what only a program can see (a knob that exists, a fault that a
// step names, a model that knows these steps). Each step reports all it finds, but a later one needs what an earlier one found whole.
package spec

import (
	"fmt"
	"strings"
	"time"
)

// File is an experiment as a file says it.
type File struct {
	Path string // as it was given, for messages
	Text string // the file itself

	Name, Summary, Question string

	RTT    time.Duration // of the link, with what the faults delay it by; 0: a veth
	Router bool
	IPv6   bool // where --ipv6 does not say otherwise

	Settings []Setting
	Window   int // the client's initial window in segments; 0: the kernel's
	Server   Server
	Faults   []Fault
	Steps    []Step
	Expect   Expect
}

// Setting is a sysctl of one host that the file sets.
type Setting struct {
	Pos               Pos
	Host, Name, Value string // "client", "net.ipv4.tcp_syn_retries", "2"
}

// Server is the program that listens.
type Server struct {
	Port        uint16
	Service     string // "http", "echo", "sink", "hold"
	AfterAnswer bool   // it closes first
	Linger      time.Duration
	LowWater    int
}

// Fault is one thing that is broken.
type Fault struct {
	Pos  Pos
	Name string
	Kind FaultKind
	Role Role          // of Drop and Reject
	Nth  []int         // which of them; nil: all
	From string        // whose packets
	At   string        // where: "client", "server", "router"
	With string        // of Reject
	Hold time.Duration // of Delay
	Off  bool          // at the start
}

// FaultKind is what a fault does.
type FaultKind string

// The kinds.
const (
	Drop   FaultKind = "drop"
	Reject FaultKind = "reject"
	Link   FaultKind = "link" // down
	Delay  FaultKind = "delay"
)

// Step is one thing that the client does, or that is done to the lab.
type Step struct {
	Pos  Pos
	Kind StepKind
	At   time.Duration // when, from the connect on: the sleeps before it
	// What it takes.
	Text           string // of send, get
	Segments, Size int    // of write
	Until          time.Duration
	Connect        Connect
	Set            Setting
	Fault          int  // index into Faults
	On             bool // of fault
}

// StepKind is what a step does.
type StepKind string

// The steps.
const (
	StepConnect  StepKind = "connect"
	StepSend     StepKind = "send"
	StepWrite    StepKind = "write"
	StepGet      StepKind = "get"
	StepReceive  StepKind = "receive"
	StepShutdown StepKind = "shutdown"
	StepClose    StepKind = "close"
	StepSet      StepKind = "set"
	StepFault    StepKind = "fault"
	stepSleep    StepKind = "sleep" // becomes the time of the steps after it
)

// Connect are the options of the client's socket. Zero: not set.
type Connect struct {
	Port                   uint16
	SYNCount               int
	UserTimeout            time.Duration
	KeepAlive              bool
	KeepIdle, KeepInterval time.Duration
	KeepCount              int
	NoDelay                bool
	MaxSegment, SendBuffer int
}

// Expect is what the file expects.
type Expect struct {
	Pos    Pos
	Model  string // a name; empty: Text, or the model that fits
	Text   *Script
	States map[string][]string // nil: those that the model has
}

// Problem is one thing that is wrong with a file.
type Problem struct {
	Pos
	Text string `json:"text"`
}

// Invalid is the error of a file that is not a valid experiment, with all that was found, in the order of the file.
type Invalid struct {
	Path     string
	Problems []Problem
}

// Error is one line for each problem: path:line:column: what is wrong.
func (e *Invalid) Error() string {
	var lines []string
	for _, p := range e.Problems {
		lines = append(lines, fmt.Sprintf("%s:%d:%d: %s", e.Path, p.Pos.Line, p.Pos.Col, p.Text))
	}
	return strings.Join(lines, "\n")
}
