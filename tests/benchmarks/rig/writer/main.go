// Command writer writes history straight into blocks of Prometheus: it reads on its standard input what series there are,
// and writes them at their true interval. Every sample is there; but chunks are encoded once for each shape and used for
// many series, so that a thousand million samples take a minute. To a query that makes no difference: it decodes them all.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"github.com/oklog/ulid/v2"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
	"github.com/prometheus/prometheus/tsdb/tombstones"
)

const (
	perChunk = 120 // samples: what Prometheus aims at
	shapes   = 16  // curves of a kind that differ
)

// History is what is asked for. Times are milliseconds; Begun and Block are multiples of every Every.
type History struct {
	Begun, Ended, Block int64
	Series              []Series
}

// Series is one of them: its labels with the name, milliseconds between two samples, and the kind of its values.
type Series struct {
	Labels map[string]string
	Every  int64
	Kind   string
}

type shape struct {
	kind  string
	every int64
	curve int
}

type chunk struct {
	from, to int64
	data     chunkenc.Chunk
}

func main() {
	var asked History
	check(json.NewDecoder(os.Stdin).Decode(&asked))
	total := 0
	for from := asked.Begun / asked.Block * asked.Block; from <= asked.Ended; from += asked.Block {
		total += write(os.Args[1], asked.Series, max(from, asked.Begun), min(from+asked.Block, asked.Ended+1))
	}
	fmt.Println(total)
}

// write makes one block and gives the number of its samples.
func write(folder string, series []Series, from, to int64) int {
	id := ulid.MustNew(uint64(to), rand.New(rand.NewSource(to)))
	place := filepath.Join(folder, id.String())
	check(os.MkdirAll(place, 0o755))
	kept, err := chunks.NewWriter(filepath.Join(place, "chunks"))
	check(err)
	names, err := index.NewWriter(context.Background(), filepath.Join(place, "index"))
	check(err)
	for _, word := range words(series) {
		check(names.AddSymbol(word))
	}
	meta := tsdb.BlockMeta{ULID: id, MinTime: from, MaxTime: to, Version: 1}
	meta.Compaction.Level, meta.Compaction.Sources = 4, []ulid.ULID{id}
	made := map[shape][]chunk{}
	for number, one := range sorted(series) {
		form := shape{one.kind, one.every, number % shapes}
		if _, ok := made[form]; !ok {
			made[form] = encode(form, from, to)
		}
		metas := make([]chunks.Meta, 0, len(made[form]))
		for _, c := range made[form] {
			metas = append(metas, chunks.Meta{Chunk: c.data, MinTime: c.from, MaxTime: c.to})
			meta.Stats.NumSamples += uint64(c.data.NumSamples())
		}
		check(kept.WriteChunks(metas...))
		check(names.AddSeries(storage.SeriesRef(number), one.labels, metas...))
		meta.Stats.NumSeries++
		meta.Stats.NumChunks += uint64(len(metas))
	}
	check(kept.Close())
	check(names.Close())
	_, err = tombstones.WriteFile(slog.New(slog.DiscardHandler), place, tombstones.NewMemTombstones())
	check(err)
	text, err := json.Marshal(meta)
	check(err)
	check(os.WriteFile(filepath.Join(place, "meta.json"), text, 0o644))
	return int(meta.Stats.NumSamples)
}

type ready struct {
	labels labels.Labels
	kind   string
	every  int64
}

func sorted(series []Series) []ready {
	made := make([]ready, 0, len(series))
	for _, one := range series {
		made = append(made, ready{labels.FromMap(one.Labels), one.Kind, one.Every})
	}
	slices.SortFunc(made, func(a, b ready) int { return labels.Compare(a.labels, b.labels) })
	return made
}

func words(series []Series) []string {
	found := map[string]bool{}
	for _, one := range series {
		for name, value := range one.Labels {
			found[name], found[value] = true, true
		}
	}
	made := make([]string, 0, len(found))
	for word := range found {
		made = append(made, word)
	}
	sort.Strings(made)
	return made
}

func encode(form shape, from, to int64) []chunk {
	var made []chunk
	first := (from + form.every - 1) / form.every * form.every
	for at := first; at < to; at += perChunk * form.every {
		last := min(at+(perChunk-1)*form.every, (to-1)/form.every*form.every)
		if form.kind == "histogram" {
			made = append(made, native(form, at, last))
		} else {
			made = append(made, numbers(form, at, last))
		}
	}
	return made
}

func numbers(form shape, from, to int64) chunk {
	data := chunkenc.NewXORChunk()
	appender, err := data.Appender()
	check(err)
	for at := from; at <= to; at += form.every {
		appender.Append(at, value(form, at))
	}
	return chunk{from, to, data}
}

// value gives numbers that compress as badly as true ones: times and shares have every digit.
func value(form shape, at int64) float64 {
	minutes := float64(at) / 60000
	turn := int(minutes/120) + form.curve
	switch form.kind {
	case "up":
		if turn%50 == 0 {
			return 0
		}
		return 1
	case "state":
		if turn%50 == 0 {
			return 1
		}
		return 0
	case "constant":
		return float64(form.curve) + 0.5
	case "moment":
		return float64(at)/1000 - 0.123
	case "counter":
		return math.Floor(minutes) + float64(form.curve)
	}
	return math.Abs(math.Sin(float64(form.curve)+minutes/150)) * (1 + rand.Float64()/10)
}

// native gives a histogram with the buckets of a flow: a few of thirty are filled.
func native(form shape, from, to int64) chunk {
	data := chunkenc.NewHistogramChunk()
	appender, err := data.Appender()
	check(err)
	bounds := []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
	for at := from; at <= to; at += form.every {
		unit := at / 60000
		made := histogram.Histogram{
			Schema: histogram.CustomBucketsSchema, CustomValues: bounds,
			Count: uint64(8 * unit), Sum: float64(unit) * (1.7 + rand.Float64()/1000),
			PositiveSpans: []histogram.Span{{Offset: 4, Length: 4}}, PositiveBuckets: []int64{4 * unit, -2 * unit, -unit, 0},
		}
		_, _, appender, err = appender.AppendHistogram(nil, at, &made, true)
		check(err)
	}
	return chunk{from, to, data}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
