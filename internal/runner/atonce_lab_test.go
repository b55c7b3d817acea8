//go:build lab && !race

package runner

// atOnce is how many tests go at once.
const atOnce = "8"
