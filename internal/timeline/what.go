package timeline

// What names a kind of event, in the protocol's words. The names appear in JSON and are stable.
type What string

// The kinds of event on the wire. A host "does" the event: it sends the segment.
const (
	SYN               What = "syn"                    // first SYN of a connection
	SYNRetransmission What = "syn-retransmission"     // the same SYN again: same ISN, N counts from 1
	SYNACK            What = "syn-ack"                // first answer to a SYN
	SYNACKAnswer      What = "syn-ack-answer"         // the same SYN-ACK again, at once, because a repeated SYN asked; N counts from 1
	SYNACKAgain       What = "syn-ack-retransmission" // the same SYN-ACK again, by the server's own timer; N counts from 1
	ACK               What = "ack"                    // no data, acknowledges something new, or completes the handshake
	DuplicateACK      What = "duplicate-ack"          // no data, the same acknowledgement and window again, while data is missing; N counts from 1
	ChallengeACK      What = "challenge-ack"          // no data: answers a segment that is not acceptable (RFC 5961), such as a repeated SYN-ACK
	WindowUpdate      What = "window-update"          // no data, the same acknowledgement with another window
	Data              What = "data"                   // carries payload seen for the first time
	DataAgain         What = "data-retransmission"    // bytes again, for a reason that is none of the next four
	TailLossProbe     What = "tail-loss-probe"        // the last segment again, or a new one, because nothing was heard for a probe timeout (RFC 8985 section 7)
	RTORetransmission What = "rto-retransmission"     // bytes again because the retransmission timer fired; N counts its fires in a row
	FastRetransmit    What = "fast-retransmission"    // bytes again because duplicate ACKs or SACK blocks said that they are missing
	KeepaliveProbe    What = "keepalive-probe"        // no data, one before the next number, on an idle connection; N counts those in a row
	KeepaliveACK      What = "keepalive-ack"          // the answer to a keepalive probe
	WindowProbe       What = "window-probe"           // no data or one byte into a closed window; N counts those in a row
	WindowProbeACK    What = "window-probe-ack"       // the answer to a window probe
	FIN               What = "fin"                    // the sender has no more data
	FINAgain          What = "fin-retransmission"     // the same FIN again, whatever the reason; N counts from 1
	RST               What = "rst"                    // ends the connection, or refuses it
	ICMP              What = "icmp-error"             // quotes a packet of the connection
)

// The kinds of event that are not on the wire: a program or a socket sees them.
const (
	ConnectError What = "connect-error" // connect(2) returns with Event.Errno
	Connected    What = "connected"     // connect(2) returns 0
	SocketError  What = "socket-error"  // the application learns Event.Errno of its connection: by read(2), write(2) or poll(2)
	SendRefused  What = "send-refused"  // sendto(MSG_FASTOPEN) returns with Event.Errno before anything is sent: there is no connection yet
	EndOfStream  What = "end-of-stream" // read(2) returns 0: the peer has closed
	Quiet        What = "quiet"         // the application has waited in read(2) for as long as it wanted, and nothing came
	Answered     What = "answered"      // the application has the whole answer to its request
	RequestGone  What = "request-gone"  // a half-open connection (SYN-RECV) vanishes
	SocketGone   What = "socket-gone"   // a host's socket of the connection is not there any more, a TIME-WAIT socket included
)

// A kind is what is known of a What besides its name.
type kind struct {
	words   string // the reader's word
	family  What   // the first of its kind: a repeat is compared with its original
	offWire bool
	again   bool // the sender sent the same bytes before
}

var kinds = map[What]kind{
	SYN:               {words: "SYN", family: SYN},
	SYNRetransmission: {words: "SYN again", family: SYN, again: true},
	SYNACK:            {words: "SYN-ACK", family: SYNACK},
	SYNACKAnswer:      {words: "SYN-ACK asked again", family: SYNACK, again: true},
	SYNACKAgain:       {words: "SYN-ACK by timer", family: SYNACK, again: true},
	ACK:               {words: "ACK", family: ACK},
	DuplicateACK:      {words: "duplicate ACK", family: ACK},
	ChallengeACK:      {words: "challenge ACK", family: ACK},
	WindowUpdate:      {words: "window update", family: ACK},
	Data:              {words: "data", family: Data},
	DataAgain:         {words: "data again", family: Data, again: true},
	TailLossProbe:     {words: "tail loss probe", family: Data, again: true},
	RTORetransmission: {words: "data again, RTO", family: Data, again: true},
	FastRetransmit:    {words: "fast retransmit", family: Data, again: true},
	KeepaliveProbe:    {words: "keepalive probe", family: KeepaliveProbe},
	KeepaliveACK:      {words: "ACK of keepalive", family: ACK},
	WindowProbe:       {words: "window probe", family: WindowProbe},
	WindowProbeACK:    {words: "ACK of window probe", family: ACK},
	FIN:               {words: "FIN", family: FIN},
	FINAgain:          {words: "FIN again", family: FIN, again: true},
	RST:               {words: "RST", family: RST},
	ICMP:              {words: "ICMP error", family: ICMP},
	ConnectError:      {words: "connect() fails", family: Connected, offWire: true},
	Connected:         {words: "connect() succeeds", family: Connected, offWire: true},
	SocketError:       {words: "the connection fails", family: EndOfStream, offWire: true},
	SendRefused:       {words: "sendto() is refused", family: SendRefused, offWire: true},
	EndOfStream:       {words: "the peer has closed", family: EndOfStream, offWire: true},
	Quiet:             {words: "nothing came", family: Quiet, offWire: true},
	Answered:          {words: "the answer is complete", family: Answered, offWire: true},
	RequestGone:       {words: "SYN-RECV vanishes", family: RequestGone, offWire: true},
	SocketGone:        {words: "the socket is gone", family: SocketGone, offWire: true},
}

// OnWire reports whether the event is a packet, as against something a program or a socket sees.
func (w What) OnWire() bool { return !kinds[w].offWire }

// Again reports whether the event repeats bytes, or a SYN, SYN-ACK or FIN, that the same host sent before.
func (w What) Again() bool { return kinds[w].again }

// Family is the kind of the original of which this is a repeat or a variant: Data for a tail loss probe. Events of one family at one host
// are compared with each other. A kind that this version does not know is a family of its own.
func (w What) Family() What {
	if k, ok := kinds[w]; ok {
		return k.family
	}
	return w
}

// Words is the reader's word for a kind of event: "SYN again". A kind that this version does not know keeps its own name.
func (w What) Words() string {
	if k, ok := kinds[w]; ok {
		return k.words
	}
	return string(w)
}

// Known reports whether this version knows the kind.
func (w What) Known() bool { _, ok := kinds[w]; return ok }
