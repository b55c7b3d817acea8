// Package wire is a program that carries Ethernet frames between two TAP devices, each a fixed time after it was read, in order: a link
// with a delay. A link.Plan may hold packets back, and limit the rate from the first device to the second. It is a process of its own, so that nothing that its parent does, garbage collection least of all, makes a frame late. It
// is the same binary: a program that imports this package becomes the wire when it is started under the name Name.
//
// It is not for loss, and knows nothing of what the frames hold but whether it is TCP, with data, and between which ports.
//
// Its one trap: standard input is its lifeline. The wire ends, and the devices with it, when its parent closes it or dies.
package wire

import "time"

// Name is argv[0] of a wire. Its arguments are the delay in nanoseconds and a link.Plan as JSON; descriptors 3 and 4 are the TAP devices,
// which do not block.
const Name = "tcplab-wire"

// Ask is written to a wire's standard input; it answers with one line of JSON, its Stats so far.
const Ask = "?"

// QueueLength is how many frames are on their way in one direction at most: at 1500 bytes, 50 ms of 1 Gbit/s.
const QueueLength = 4096

// Stats are what a wire did so far.
type Stats struct {
	Frames int `json:"frames"` // delivered
	Lost   int `json:"lost"`   // not delivered, because a queue was full
	// Worst is how much later than it was due a frame was delivered at most, and Late lists those that were more than a millisecond late,
	// a thousand at most. What a frame waited for before it was read does not show here, but in captures of both ends.
	Worst time.Duration `json:"worst"`
	Late  []Late        `json:"late,omitempty"`
}

// Late is a frame that was delivered late, by For. Due is CLOCK_MONOTONIC.
type Late struct {
	Due time.Duration `json:"due"`
	For time.Duration `json:"for"`
}
