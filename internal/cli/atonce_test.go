//go:build !race

package cli

// atOnce is how many tests go at once.
const atOnce = "8"
