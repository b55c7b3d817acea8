package predict_test

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/predict"
)

// What connect(2) into a network that loses every SYN does, on a kernel that need not be here.
func ExampleConnect() {
	k, err := predict.Model("6.12", 250)
	if err != nil {
		panic(err)
	}
	settings := predict.Fixed{"net.ipv4.tcp_syn_retries": "2", "net.ipv4.tcp_syn_linear_timeouts": "0"}
	t, err := predict.Connect(k, settings, predict.Open{Lost: -1})
	if err != nil {
		panic(err)
	}
	fmt.Print(t)
	fmt.Println("1.010 s is right for the first repeat:", t.Events[1].Holds(1010*time.Millisecond))
	fmt.Println("0.999 s is:", t.Events[1].Holds(999*time.Millisecond))
	// Output:
	// 0.000 … 0.000 s  client syn
	// 1.000 … 1.032 s  client syn-retransmission 1
	// 3.016 … 3.048 s  client syn-retransmission 2
	// 7.048 … 7.304 s  client connect-error ETIMEDOUT
	// 1.010 s is right for the first repeat: true
	// 0.999 s is: false
}

// One lost SYN costs a second: what a client's user waits for.
func ExampleConnect_late() {
	k, err := predict.Model("6.12", 250)
	if err != nil {
		panic(err)
	}
	t, err := predict.Connect(k, predict.Fixed{"net.ipv4.tcp_syn_retries": "6"}, predict.Open{Lost: 1})
	if err != nil {
		panic(err)
	}
	fmt.Println(t.Outcome.What, t.Outcome.Errno, t.Outcome.Earliest, "to", t.Outcome.Latest)
	// Output:
	// connected  1s to 1.033s
}
