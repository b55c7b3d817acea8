package result

import "fmt"

// Case is one row of Prediction.Cases: a connection, what ends it, and when its program is told.
type Case struct {
	N    int    `json:"n"`              // its number in the whole table, from 1
	Name string `json:"name"`           // "idle, keepalive"
	Port int    `json:"port,omitempty"` // the server's, as in Packet
	Rule string `json:"rule"`           // what decides: "tcp_retries2=15", "TCP_USER_TIMEOUT=30000", "nothing"
	From string `json:"from"`           // what the time counts from: "write()"
	Told string `json:"told"`           // how its program learns of it: "read() = ETIMEDOUT"; "nothing"
	// Never says that nothing ends it. Else At is the nominal time, and Earliest and Latest are its window over every phase of jiffies.
	Never    bool    `json:"never,omitempty"`
	At       Seconds `json:"at,omitempty"`
	Earliest Seconds `json:"earliest,omitempty"`
	Latest   Seconds `json:"latest,omitempty"`
}

// CheckID is the ID of the check that holds what was seen against the row.
func (c Case) CheckID() string { return fmt.Sprintf("case-%d", c.Port) }

// Words are how the case ends: "3.560 … 3.600 s, read() = ETIMEDOUT".
func (c Case) Words() string {
	if c.Never {
		return "never"
	}
	return fmt.Sprintf("%.3f … %.3f s, %s", c.Earliest.Duration().Seconds(), c.Latest.Duration().Seconds(), c.Told)
}
