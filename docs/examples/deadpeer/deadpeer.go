// Package deadpeer is somebody's client: it asks for a line, and gives up when the kernel does. Its tests kill its peer, to see that it notices.
package deadpeer

import (
	"bufio"
	"context"
	"fmt"
	"net"
)

// Client asks an echo server over one connection.
type Client struct {
	// Dial opens the connection. Nil: net.Dialer's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	conn net.Conn
	in   *bufio.Reader
}

// Open connects.
func (c *Client) Open(ctx context.Context, address string) error {
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	c.conn, c.in = conn, bufio.NewReader(conn)
	return nil
}

// Ask sends a line and waits for the answer: for as long as the kernel believes in the peer.
func (c *Client) Ask(line string) (string, error) {
	if _, err := c.conn.Write([]byte(line + "\n")); err != nil {
		return "", fmt.Errorf("ask: %w", err)
	}
	answer, err := c.in.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("ask: %w", err)
	}
	return answer[:len(answer)-1], nil
}

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }
