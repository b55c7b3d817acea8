package result

import "time"

// Link is a link with an RTT.
type Link struct {
	RTT    Seconds `json:"rtt"`            // that was asked for
	How    string  `json:"how"`            // what delays the packets
	Frames int     `json:"frames"`         // delivered
	Lost   int     `json:"lost"`           // from a full queue
	Worst  Seconds `json:"worst"`          // how much later than it was due a frame was delivered, at most
	Rate   int64   `json:"rate,omitempty"` // bits a second that it carried to the server; 0: no limit
	// Every says that each TCP packet was held back for a time of its own, and not the client's segments with data alone.
	Every bool `json:"every,omitempty"`
	// Hold is how much longer than half the RTT each segment with data of the client's was to be under way, or with every each TCP packet of
	// the client's, in the order in which they left; those that follow waited behind it. Absent, and after the end: no longer.
	Hold []Seconds `json:"hold,omitempty"`
	// Back is the same of each TCP packet of the server's.
	Back []Seconds `json:"back,omitempty"`
	// Behind is how much longer still, while others overtook it.
	Behind []Seconds `json:"behind,omitempty"`
	// Flows are the connections of which each was counted and held back by itself.
	Flows []Flow `json:"flows,omitempty"`
}

// Flow is a connection that the link counted by itself.
type Flow struct {
	Port int       `json:"port"` // by which it was known: its own at one of its ends
	Hold []Seconds `json:"hold"` // as the link's, with every
	Back []Seconds `json:"back"`
}

// SecondsOf and Durations turn lists into each other.
func SecondsOf(list []time.Duration) []Seconds {
	var out []Seconds
	for _, d := range list {
		out = append(out, Seconds(d))
	}
	return out
}

// Durations is the other way round.
func Durations(list []Seconds) []time.Duration {
	var out []time.Duration
	for _, s := range list {
		out = append(out, s.Duration())
	}
	return out
}
