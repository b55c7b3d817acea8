package result

// Capture is one capture file.
type Capture struct {
	Host    string `json:"host"`
	File    string `json:"file,omitempty"` // relative to the run's folder; empty when nothing was written
	Packets int    `json:"packets"`
	ARP     int    `json:"arp,omitempty"` // ARP packets among them
	// Solicitations are the neighbour solicitations of IPv6 among them.
	Solicitations int `json:"solicitations,omitempty"`
	Dropped       int `json:"dropped"` // PACKET_STATISTICS tp_drops: packets the kernel could not hand over
	// Gaps say between which times they were lost.
	Gaps []Gap `json:"gaps,omitempty"`
}

// Gap is a time in which a capture lost packets: from the packet before them, or the beginning, to the packet behind, or the end of observation.
type Gap struct {
	From    Seconds `json:"from"` // from the first packet on
	To      Seconds `json:"to"`
	Packets int     `json:"packets"` // that were lost
}
