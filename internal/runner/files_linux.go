package runner

import "time"

// record is what the run left. The names of its capture files are part of its result.
func (r *run) record() Record {
	rec := Record{Result: r.res}
	for i := range r.res.Captures {
		c := &r.res.Captures[i]
		c.File = captureName(c.Host)
		rec.Captures = append(rec.Captures, Capture{Packets: r.obs.capture[c.Host].Packets(), IDs: r.judged.ids(c.Host, len(r.obs.capture[c.Host].Packets())), Ended: time.Now()})
	}
	return rec
}

// write writes the run's folder, or hands over what it is made of.
func (r *run) write() error {
	switch {
	case r.Record != nil:
		return r.Record(r.record())
	case r.Dir != nil:
		return r.record().Write(r.Dir, r.Chinese)
	}
	return nil
}

// ids are the packet numbers of a capture's so many records; 0: none.
func (v *view) ids(host string, records int) []int {
	ids := make([]int, records)
	for i, s := range v.sights {
		if s.from == host && s.atSender >= 0 {
			ids[s.atSender] = i + 1
		}
		if s.to == host && s.atTo >= 0 {
			ids[s.atTo] = i + 1
		}
	}
	return ids
}
