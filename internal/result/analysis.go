package result

// AnalysisSchema is the form of Analysis. It is additive only.
const AnalysisSchema = "tcplab.analysis/v1"

// Analysis is what `tcplab analyse` says of a capture.
type Analysis struct {
	Schema      string       `json:"schema"` // "tcplab.analysis/v1"
	Connections []Connection `json:"connections"`
	// Packets are those of the one connection that --stream or --follow asks for.
	Packets []Step `json:"packets,omitempty"`
	// LeftOut is how many packets of that connection are not in Packets, in their middle.
	LeftOut int            `json:"packets_left_out,omitempty"`
	File    CaptureFile    `json:"file"`
	Fates   map[string]int `json:"fates"` // how many connections ended how
}

// CaptureFile is what was read.
type CaptureFile struct {
	Name        string         `json:"name"`       // - for standard input
	Format      string         `json:"format"`     // pcapng, pcap, ...
	Links       []string       `json:"links"`      // link types that packets have: "Ethernet (1)"
	Interfaces  []string       `json:"interfaces"` // names of the interfaces, where the file has any
	Comment     string         `json:"comment,omitempty"`
	Packets     int            `json:"packets"`           // of every kind
	TCP         int            `json:"tcp"`               // segments, and ICMP errors about them
	Other       map[string]int `json:"other"`             // packets that are no TCP, by kind: ARP, UDP, ICMP, SCTP, later fragment, other
	Undecodable int            `json:"undecodable"`       // malformed, or cut by the snap length inside a header
	WhyNot      string         `json:"why_not,omitempty"` // what was wrong with the first of these
	Truncated   int            `json:"truncated"`         // segments of which the capture holds less than the packet: their lengths are right all the same
	Fragments   int            `json:"fragments"`         // segments of which only the first fragment could be read
	Copies      int            `json:"copies"`            // packets that the capture holds twice
	NoTime      int            `json:"no_time"`           // packets without a time stamp (simple packet blocks)
	Dropped     uint64         `json:"dropped"`           // packets that the capture says it lost
	Start       string         `json:"start"`             // time of the first packet, RFC 3339; empty without packets
	Duration    Seconds        `json:"duration"`          // from the first packet to the last
	Cut         string         `json:"cut,omitempty"`     // where the file ends in the middle of something, or is broken
	Connections int            `json:"connections"`
	GivenUp     int            `json:"given_up"`     // connections that were let go because too many were open at once
	MostAtOnce  int            `json:"most_at_once"` // connections that were held at once
}

// Connection is one TCP connection of a capture. Times are seconds since the first packet of the capture.
type Connection struct {
	Number      int       `json:"number"` // from 0 in the order of their first packet, as tcp.stream of Wireshark
	Client      string    `json:"client"` // address and port
	Server      string    `json:"server"`
	First       int       `json:"first"` // number of its first packet in the file, from 1
	Start       Seconds   `json:"start"`
	End         Seconds   `json:"end"`
	Packets     int       `json:"packets"`
	Handshake   bool      `json:"handshake"` // its SYN is in the capture
	Established bool      `json:"established"`
	RTT         *Seconds  `json:"rtt"` // from the SYN to the acknowledgement of the SYN-ACK: between both ends; null where a repeat lay between
	SACK        bool      `json:"sack"`
	FromClient  HalfFlow  `json:"from_client"`
	FromServer  HalfFlow  `json:"from_server"`
	Copies      int       `json:"copies"`
	Unseen      int64     `json:"unseen"` // bytes that were acknowledged and are not in the capture
	Waited      Seconds   `json:"waited"` // silences that a retransmission timer or a tail loss probe ended
	Fate        string    `json:"fate"`   // closed, half-closed, reset, refused, unreachable, unanswered, half-open, silent, open or stray
	ResetBy     string    `json:"reset_by,omitempty"`
	Left        string    `json:"left,omitempty"` // why it was not followed to its end
	Findings    []Finding `json:"findings"`
}

// HalfFlow is what one end of a connection sent.
type HalfFlow struct {
	Packets         int            `json:"packets"`
	DataPackets     int            `json:"data_packets"`
	Bytes           int64          `json:"bytes"`       // of data, each byte once
	BytesAgain      int64          `json:"bytes_again"` // of data that was repeated
	Kinds           map[string]int `json:"kinds"`       // packets by their names
	WindowClosed    int            `json:"window_closed"`
	WindowClosedFor Seconds        `json:"window_closed_for"`
}

// Finding is something that a reader of the capture should know.
type Finding struct {
	Kind  string    `json:"kind"`  // such as syn-unanswered, data-unanswered, loss-repaired
	Grade string    `json:"grade"` // died, slow or note
	Host  string    `json:"host,omitempty"`
	Text  string    `json:"text"`
	N     int       `json:"n"`              // repeats or probes
	Gaps  []Seconds `json:"gaps,omitempty"` // before each of them, the first 16
	Cost  Seconds   `json:"cost"`
	// Like is the experiment that shows the same, and Try the command that runs it; empty: there is none.
	Like string `json:"like,omitempty"`
	Try  string `json:"try,omitempty"`
}

// Step is one packet of a connection with its name.
type Step struct {
	Frame  int     `json:"frame"` // number in the file, from 1
	At     Seconds `json:"at"`    // since the first packet of the connection
	From   string  `json:"from"`  // client or server; empty for an ICMP error from neither
	What   string  `json:"what"`  // the names of events in result.json; copy: the capture holds it twice; empty: TCP ignores it
	N      int     `json:"n,omitempty"`
	RelSeq uint32  `json:"rel_seq"`
	RelAck uint32  `json:"rel_ack"`
	Len    int     `json:"len"`
	Detail string  `json:"detail,omitempty"`
	// Skipped is how many ordinary packets after this one were left out.
	Skipped int `json:"skipped,omitempty"`
}
