//go:build linux

package labtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/tcplab/tcplab/internal/guard"
	"github.com/tcplab/tcplab/internal/vm"
)

// Kernel is the environment variable that names the kernel on which Main runs the tests: "6.12", a release, or the path of a vmlinuz.
const Kernel = "TCPLAB_KERNEL"

// virtual is true where time stands still while there is work to do.
var virtual bool

// order is what the host's test binary asks of the guest's.
type order struct {
	Args []string `json:"args"`
}

// Names of the guest's messages.
const (
	sayOutput = "output"
	sayCode   = "code"
)

// Main runs a package's tests and returns the exit code:
//
//	func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }
//
// Where TCPLAB_KERNEL is set, it boots that kernel in a virtual machine, with this test binary as its first process, and runs the tests there in
// virtual time, as root of the machine: a keepalive of two hours takes seconds. The binary must be static (CGO_ENABLED=0), the machine needs
// QEMU, and `tcplab kernels fetch` gets the kernels. Files of the package's folder are not in the machine.
func Main(m *testing.M) int {
	if vm.InGuest() {
		vm.Guest(func(request []byte, send func(vm.Message) error) error { return inGuest(m, request, send) })
	}
	name := os.Getenv(Kernel)
	if name == "" {
		return m.Run()
	}
	code, err := boot(name)
	if err != nil {
		fmt.Fprintf(os.Stderr, "labtest: %s=%s: %v\n", Kernel, name, err)
		return 1
	}
	return code
}

// boot runs the tests on another kernel, and prints what they print.
func boot(name string) (int, error) {
	g := guard.Start() // of a package that is being unpacked, where it is killed then
	defer g.Bye()
	k, err := vm.Find(name, g)
	if err != nil {
		return 1, err
	}
	program, err := os.Executable()
	if err != nil {
		return 1, err
	}
	request, err := json.Marshal(order{Args: os.Args[1:]})
	if err != nil {
		return 1, err
	}
	code := 1
	_, err = vm.Run(context.Background(), vm.Options{Kernel: k, Program: program, Request: request, IPv6: true, Guard: g}, func(msg vm.Message) error {
		switch msg.Name {
		case sayOutput:
			_, err := os.Stdout.Write(msg.Data)
			return err
		case sayCode:
			return json.Unmarshal(msg.Data, &code)
		}
		return nil
	})
	return code, err
}

// inGuest runs the tests in the machine and sends what they print.
func inGuest(m *testing.M, request []byte, send func(vm.Message) error) error {
	var o order
	if err := json.Unmarshal(request, &o); err != nil {
		return err
	}
	virtual = true
	os.Args = append(os.Args[:1], o.Args...)
	if err := os.Setenv(Require, "1"); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	var out bytes.Buffer
	done := make(chan error, 1)
	go func() { _, err := io.Copy(&out, r); done <- err }()
	os.Stdout, os.Stderr = w, w
	code := m.Run()
	w.Close()
	if err := <-done; err != nil {
		return err
	}
	b, err := json.Marshal(code)
	if err != nil {
		return err
	}
	if err := send(vm.Message{Name: sayOutput, Data: out.Bytes()}); err != nil {
		return err
	}
	return send(vm.Message{Name: sayCode, Data: b})
}
