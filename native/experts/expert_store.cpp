#include "experts/expert_store.h"

#include <algorithm>
#include <sys/mman.h>
#include <unistd.h>

#include "experts/read_experts.h"

namespace flashmoe {
namespace {

// What reading ahead of a prompt's computation may take: two experts at least, so that a read overlaps a computation.
constexpr uint64_t kAheadMemory = 96u << 20;
constexpr uint32_t kMostAhead = 32;
/// Neighbours are read together up to this: longer reads are no faster, and shorter ones let more threads read.
constexpr uint64_t kRunBytes = 4u << 20;
/// Where counts of use are halved, so that what was hot long ago cools.
constexpr uint32_t kMostHeat = 1 << 16;

/// Makes a mapped expert's pages be there, so that the computation doesn't fault them in one by one. What can't be read shows
/// in the mapping's guard.
void touch_pages(const std::byte* data, uint64_t bytes) {
    const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    const uintptr_t first = reinterpret_cast<uintptr_t>(data) & ~(page - 1), end = reinterpret_cast<uintptr_t>(data) + bytes;
#ifdef MADV_POPULATE_READ
    if (madvise(reinterpret_cast<void*>(first), end - first, MADV_POPULATE_READ) == 0) return;
#else
    madvise(reinterpret_cast<void*>(first), end - first, MADV_WILLNEED);
#endif
    for (uintptr_t at = first; at < end; at += page) static_cast<void>(*reinterpret_cast<const volatile std::byte*>(at));
}

} // namespace

ExpertStore::ExpertStore(Backend& backend, ExpertFiles& files, uint64_t pool_bytes, uint32_t threads)
    : backend_(backend), files_(files), experts_(files.experts()), pool_(backend, files.layers(), experts_, files.largest_stride()),
      heat_(size_t{files.layers()} * experts_), touched_(files.is_mapped() ? heat_.size() : 0), items_(experts_) {
    jobs_.reserve(experts_);
    in_use_.reserve(experts_);
    ranks_.reserve(experts_);
    if (!files.is_mapped()) take_room(pool_bytes);
    // Last: from here on the lists belong to whoever holds the lock.
    threads_.emplace("reading experts", 0, threads, [this](uint32_t) { work(); }, [this] { stop(); });
}

void ExpertStore::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    work_changed_.notify_all();
}

void ExpertStore::resize(uint64_t bytes) {
    std::unique_lock lock(mutex_);
    warming_.clear();
    result_changed_.wait(lock, [&] { return in_flight_ == 0; });
    tables_.clear();
    // Files that are mapped from now on need no pool: what is left of it is one expert.
    take_room(files_.is_mapped() ? 0 : bytes);
    if (files_.is_mapped() && touched_.empty()) touched_.resize(heat_.size());
    work_changed_.notify_all();
}

/// A pool of so many bytes. Where all experts fit each gets a place of its own, and for a device that finds them by number all
/// are read while nobody waits for others.
void ExpertStore::take_room(uint64_t bytes) {
    if (bytes < files_.total_bytes()) return pool_.resize(bytes);
    const auto has_experts = [&](uint32_t layer) { return files_.has_layer(layer); };
    pool_.lay_out([&](uint32_t layer, uint32_t expert) { return has_experts(layer) ? files_.layer(layer).shape(expert).expert_stride : 0; });
    if (!backend_.chooses_experts()) return;
    // The last one is taken first.
    for (uint32_t layer = files_.layers(); layer-- > 0;) {
        for (uint32_t expert = has_experts(layer) ? experts_ : 0; expert-- > 0;) warming_.push_back({layer, expert});
    }
}

const ExpertTable* ExpertStore::table(uint32_t layer) {
    const std::lock_guard lock(mutex_);
    if (!backend_.chooses_experts() || !pool_.is_whole()) return nullptr;
    if (tables_.empty()) make_tables();
    return &tables_[layer];
}

void ExpertStore::make_tables() {
    if (places_.size() == 0) {
        places_ = PageMemory(size_t{files_.layers()} * experts_ * 2 * sizeof(uint32_t));
        places_buffer_ = WrappedBuffer(backend_, places_.data(), places_.size());
    }
    tables_.resize(files_.layers());
    for (uint32_t index = 0; index < files_.layers(); ++index) {
        if (!files_.has_layer(index)) continue;
        const ExpertLayer& layer = files_.layer(index);
        ExpertTable& table = tables_[index];
        table.experts = experts_;
        table.places = places_buffer_.span(size_t{index} * experts_ * 2 * sizeof(uint32_t));
        std::vector<uint32_t> shapes;
        for (uint32_t expert = 0; expert < experts_; ++expert) {
            const Span at = pool_.at(pool_.find(index, expert));
            const uint32_t shape = layer.shape_of(expert);
            uint32_t part = 0;
            while (part < table.parts.size() && (table.parts[part].start.buffer != at.buffer || shapes[part] != shape)) ++part;
            if (part == table.parts.size()) {
                table.parts.push_back({{at.buffer, 0}, layer.shapes[shape].gate, layer.shapes[shape].up, layer.shapes[shape].down});
                shapes.push_back(shape);
            }
            table.places.as<uint32_t>()[2 * expert] = part;
            table.places.as<uint32_t>()[2 * expert + 1] = static_cast<uint32_t>(at.offset);
        }
    }
}

void ExpertStore::used(uint32_t layer, const uint32_t* ids, uint32_t count) {
    const std::lock_guard lock(mutex_);
    std::vector<bool> seen(experts_);
    for (uint32_t i = 0; i < count; ++i) {
        if (ids[i] >= experts_) fail(FM_ENGINE, kNoExpert);
        heat_up(layer, ids[i], 1);
        if (seen[ids[i]]) continue;
        seen[ids[i]] = true;
        ++counters_.uses;
        ++counters_.hits;
    }
}

void ExpertStore::heat_up(uint32_t layer, uint32_t expert, uint32_t times) {
    uint32_t& heat = heat_[size_t{layer} * experts_ + expert];
    heat += times;
    if (heat <= kMostHeat) return;
    for (uint32_t& each : heat_) each /= 2;
}

uint64_t ExpertStore::pool_bytes() const {
    const std::lock_guard lock(mutex_);
    return pool_.bytes();
}

uint32_t ExpertStore::held() const {
    const std::lock_guard lock(mutex_);
    return pool_.count();
}

ExpertCounters ExpertStore::counters() const {
    const std::lock_guard lock(mutex_);
    return counters_;
}

void ExpertStore::device_is_done() {
    const std::lock_guard lock(mutex_);
    for (const uint32_t range : in_use_) pool_.let_go(range);
    in_use_.clear();
}

std::vector<ExpertName> ExpertStore::hottest(size_t most) const {
    const std::lock_guard lock(mutex_);
    std::vector<ExpertName> names;
    pool_.for_each([&](uint32_t layer, uint32_t expert) { names.push_back({layer, expert}); });
    const auto heat = [&](const ExpertName& name) { return heat_[size_t{name.layer} * experts_ + name.expert]; };
    std::stable_sort(names.begin(), names.end(), [&](const ExpertName& a, const ExpertName& b) { return heat(a) > heat(b); });
    if (names.size() > most) names.resize(most);
    return names;
}

void ExpertStore::warm(std::vector<ExpertName> experts) {
    if (files_.is_mapped()) return;
    {
        const std::lock_guard lock(mutex_);
        // Where all are read anyway they keep their order, which is that of the disk.
        if (pool_.is_laid_out() && backend_.chooses_experts()) return;
        // The last one is taken first.
        warming_.assign(experts.rbegin(), experts.rend());
    }
    work_changed_.notify_all();
}

void ExpertStore::finish_warming() {
    std::unique_lock lock(mutex_);
    result_changed_.wait(lock, [&] { return warming_.empty() && in_flight_ == 0; });
}

/// Experts of a prompt that may be read ahead of its computation.
uint32_t ExpertStore::most_ahead() const {
    const uint64_t most = std::clamp<uint64_t>(kAheadMemory / files_.largest_stride(), 2, kMostAhead);
    if (files_.is_mapped()) return static_cast<uint32_t>(most);
    return static_cast<uint32_t>(std::min(most, std::max<uint64_t>(2, pool_.bytes() / files_.largest_stride() / 2)));
}

/// Of a prompt's experts, those that stay: as many of the most chosen as are a layer's part of the pool, once there is room
/// for reading ahead.
void ExpertStore::choose_kept(const uint32_t* counts) {
    if (pool_.is_laid_out()) return;
    const uint64_t room = pool_.bytes() / files_.largest_stride(), ahead = most_ahead();
    const uint64_t share = room <= ahead ? 0 : (room - ahead) / std::max(files_.expert_layers(), 1u);
    if (share >= count_) return;
    ranks_.resize(count_);
    for (uint32_t i = 0; i < count_; ++i) ranks_[i] = i;
    std::nth_element(ranks_.begin(), ranks_.begin() + static_cast<long>(share), ranks_.end(), [&](uint32_t a, uint32_t b) {
        return counts[a] != counts[b] ? counts[a] > counts[b] : a < b;
    });
    for (uint32_t i = static_cast<uint32_t>(share); i < count_; ++i) items_[ranks_[i]].keep = false;
}

void ExpertStore::begin(uint32_t layer, const uint32_t* experts, const uint32_t* counts, uint32_t count, bool in_order) {
    const std::lock_guard lock(mutex_);
    asked_ = experts;
    layer_ = layer;
    count_ = count;
    issued_ = next_ = taken_ = ahead_ = 0;
    in_order_ = in_order;
    failure_.clear();
    std::fill_n(items_.begin(), count, Item{});
    const bool mapped = files_.is_mapped();
    if (in_order && !mapped) choose_kept(counts);
    counters_.uses += count;
    for (uint32_t i = 0; i < count; ++i) {
        Item& item = items_[i];
        heat_up(layer, experts[i], counts[i]);
        if (mapped) {
            if (touched_[size_t{layer} * experts_ + experts[i]]) item.state = State::ready;
        } else if (const uint32_t range = pool_.find(layer, experts[i]); range != ExpertPool::kNone) {
            pool_.pin(range);
            if (item.keep) pool_.mark_used(range);
            item.range = range;
            item.keep = true; // dropping is for what is read now
            item.state = pool_.is_ready(range) ? State::ready : State::reading;
        }
        if (item.state == State::ready) ++counters_.hits;
    }
    issue();
}

/// Hands out reads as far as there is room for them. With the lock held.
void ExpertStore::issue() {
    const uint32_t most = most_ahead();
    const bool mapped = files_.is_mapped();
    const size_t before = jobs_.size();
    for (; issued_ < count_; ++issued_) {
        Item& item = items_[issued_];
        if (item.state != State::waiting) continue;
        if (in_order_ && ahead_ >= most) break;
        const uint32_t expert = asked_[issued_];
        if (!mapped) {
            item.range = pool_.take(layer_, expert, files_.layer(layer_).shape(expert).expert_stride);
            if (item.range == ExpertPool::kNone) break;
            pool_.pin(item.range);
        }
        item.state = State::reading;
        item.was_read = true;
        ++ahead_;
        jobs_.push_back({{layer_, expert}, item.range});
    }
    if (jobs_.size() != before) work_changed_.notify_all();
}

void ExpertStore::end() noexcept {
    std::unique_lock lock(mutex_);
    for (; claimed_ < jobs_.size(); ++claimed_) {
        if (jobs_[claimed_].range != ExpertPool::kNone) pool_.let_go(jobs_[claimed_].range);
    }
    jobs_.clear();
    claimed_ = 0;
    result_changed_.wait(lock, [&] { return demanded_ == 0; });
    for (uint32_t i = 0; i < count_; ++i) {
        Item& item = items_[i];
        if (item.range == ExpertPool::kNone) continue;
        if (item.state == State::taken) in_use_.push_back(item.range);
        else pool_.let_go(item.range);
    }
    count_ = 0;
}

void ExpertStore::work() {
    std::unique_lock lock(mutex_);
    for (;;) {
        work_changed_.wait(lock, [&] { return stopping_ || claimed_ < jobs_.size() || !warming_.empty(); });
        if (stopping_) return;
        Job jobs[kMaxRun];
        if (const uint32_t count = claim(jobs); count > 0) {
            demanded_ += count;
            read(jobs, count, lock);
            demanded_ -= count;
        } else if (claim_warming(jobs)) {
            read(jobs, 1, lock);
        }
        result_changed_.notify_all();
    }
}

/// The next reads that somebody waits for, as many as are neighbours.
uint32_t ExpertStore::claim(Job* jobs) {
    uint32_t count = 0;
    while (claimed_ < jobs_.size() && count < kMaxRun) {
        const Job& job = jobs_[claimed_];
        const ExpertLayer& layer = files_.layer(job.name.layer);
        const uint64_t stride = layer.shape(job.name.expert).expert_stride;
        const bool fits = count == 0 || ((count + 1) * stride <= kRunBytes && job.range != ExpertPool::kNone &&
                                         job.name.expert == jobs[count - 1].name.expert + 1 &&
                                         layer.shape_of(job.name.expert) == layer.shape_of(jobs[count - 1].name.expert));
        if (!fits) break;
        jobs[count++] = job;
        ++claimed_;
    }
    if (claimed_ == jobs_.size()) {
        jobs_.clear();
        claimed_ = 0;
    }
    return count;
}

bool ExpertStore::claim_warming(Job* jobs) {
    while (!warming_.empty()) {
        const ExpertName name = warming_.back();
        warming_.pop_back();
        const uint64_t stride = files_.layer(name.layer).shape(name.expert).expert_stride;
        if (pool_.free_bytes() < stride) break;
        if (pool_.find(name.layer, name.expert) != ExpertPool::kNone) continue;
        const uint32_t range = pool_.take(name.layer, name.expert, stride);
        if (range == ExpertPool::kNone) break;
        jobs[0] = {name, range};
        return true;
    }
    warming_.clear();
    return false;
}

void ExpertStore::read(const Job* jobs, uint32_t count, std::unique_lock<std::mutex>& lock) {
    ++in_flight_;
    const ExpertLayer& layer = files_.layer(jobs[0].name.layer);
    std::byte* targets[kMaxRun];
    const bool mapped = jobs[0].range == ExpertPool::kNone;
    for (uint32_t i = 0; i < count && !mapped; ++i) targets[i] = pool_.data(jobs[i].range);
    lock.unlock();
    std::string failure;
    uint32_t whole = count;
    if (mapped) touch_pages(layer.mapping->data(layer.offset(jobs[0].name.expert)), layer.shape(jobs[0].name.expert).expert_size);
    else whole = read_experts(layer, jobs[0].name.expert, count, targets, failure);
    lock.lock();
    --in_flight_;
    counters_.reads += count;
    counters_.bytes += count * layer.shape(jobs[0].name.expert).expert_size;
    for (uint32_t i = 0; i < count; ++i) settle(jobs[i], i < whole, failure);
    // Who asked while this read held the last of the room waits for no other event.
    issue();
}

/// What came of a read, for the pool and for whoever waits for it. With the lock held.
void ExpertStore::settle(const Job& job, bool whole, const std::string& failure) {
    if (job.range == ExpertPool::kNone) touched_[size_t{job.name.layer} * experts_ + job.name.expert] = true;
    else if (whole) pool_.set_ready(job.range);
    for (uint32_t i = 0; i < count_; ++i) {
        Item& item = items_[i];
        if (item.state != State::reading || job.name != ExpertName{layer_, asked_[i]}) continue;
        item.state = whole ? State::ready : State::failed;
        if (!whole) failure_ = failure;
    }
    if (job.range != ExpertPool::kNone) pool_.let_go(job.range);
}

} // namespace flashmoe
