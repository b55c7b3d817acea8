//go:build race

package cli

// atOnce is how many tests go at once. The race detector makes each of them work ten times as hard.
const atOnce = "5"
