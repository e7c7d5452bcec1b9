// The welcome series as BullMQ jobs: each step adds the job of the next one before its own counts as
// done, the second e-mail with a delay of a second.
//
// Arguments: enrollments, how many are under way at once, the port of the Redis server.

import { Queue, Worker } from 'bullmq'
import IORedis from 'ioredis'

const [enrollments, underWay, port] = process.argv.slice(2).map(Number)
const connection = new IORedis(port, '127.0.0.1', { maxRetriesPerRequest: null })
const [appendonly, appendfsync] = await Promise.all(
  ['appendonly', 'appendfsync'].map(async (name) => (await connection.config('GET', name))[1]))

const queue = new Queue('series', { connection, defaultJobOptions: { removeOnComplete: true } })
let steps = 0
let ended = 0
let begun = 0
let tell
const allEnded = new Promise((resolve) => { tell = resolve })

const event = (n) => ({ customer: `c${n}`, plan: 'free', note: 'x'.repeat(150) })
const begin = () => begun < enrollments && queue.add('hello', event(begun++))
// What is rendered goes nowhere.
const send = (text) => { steps += text.length > 0 ? 1 : 0 }

const take = {
  async hello({ data }) {
    send(`Welcome, ${data.customer}: ${data.plan}`)
    await queue.add('tip', data, { delay: 1000 })
  },
  async tip({ data }) {
    steps += 1 // the wait is over
    send(`A tip for ${data.customer}: ${data.plan}`)
    await queue.add('nudge', data)
  },
  async nudge({ data }) {
    send(`Hello ${data.customer}: ${data.plan}`)
    await queue.add('end', data)
  },
  async end() { steps += 1 }
}

const worker = new Worker('series', (job) => take[job.name](job),
  { connection: connection.duplicate(), concurrency: Math.min(underWay, 200) })
worker.on('completed', (job) => {
  if (job.name !== 'end') return
  ended += 1
  begin()
  if (ended === enrollments) tell()
})
worker.on('failed', (job, error) => { console.error(error); process.exit(1) })

const started = performance.now()
for (let n = 0; n < underWay; n += 1) begin()
await allEnded
const seconds = (performance.now() - started) / 1000
if (steps !== 5 * enrollments) {
  console.error(`${steps} steps of ${5 * enrollments}`)
  process.exit(1)
}
console.log(JSON.stringify({ enrollments, seconds, under_way: underWay,
  step_transitions_per_s: 5 * enrollments / seconds, durability: { appendonly, appendfsync } }))
process.exit(0)
