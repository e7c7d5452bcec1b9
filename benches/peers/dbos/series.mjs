// The welcome series as a DBOS workflow on PostgreSQL: each step that does something is a step of the
// workflow, which DBOS records before the next begins.
//
// Arguments: enrollments, how many are under way at once, the URL of the database.

import { DBOS } from '@dbos-inc/dbos-sdk'
import pg from 'pg'

const [enrollments, underWay] = process.argv.slice(2, 4).map(Number)
const url = process.argv[4]
let steps = 0
// What is rendered goes nowhere.
const send = async (text) => { steps += text.length > 0 ? 1 : 0 }

const welcome = DBOS.registerWorkflow(async ({ customer, plan }) => {
  await DBOS.runStep(() => send(`Welcome, ${customer}: ${plan}`), { name: 'hello' })
  await DBOS.sleep(1000)
  steps += 1
  await DBOS.runStep(() => send(`A tip for ${customer}: ${plan}`), { name: 'tip' })
  await DBOS.runStep(() => send(`Hello ${customer}: ${plan}`), { name: 'nudge' })
  steps += 1
}, { name: 'welcome' })

const client = new pg.Client(url)
await client.connect()
const durability = {}
for (const name of ['fsync', 'synchronous_commit', 'full_page_writes']) {
  durability[name] = (await client.query(`SHOW ${name}`)).rows[0][name]
}
await client.end()

DBOS.setConfig({ name: 'peer', systemDatabaseUrl: url, systemDatabasePoolSize: 50,
  runAdminServer: false, logLevel: 'error' })
await DBOS.launch()
let begun = 0
const caller = async () => {
  while (begun < enrollments) {
    const event = { customer: `c${begun++}`, plan: 'free', note: 'x'.repeat(150) }
    const handle = await DBOS.startWorkflow(welcome)(event)
    await handle.getResult()
  }
}
const started = performance.now()
await Promise.all(Array.from({ length: underWay }, caller))
const seconds = (performance.now() - started) / 1000
if (steps !== 5 * enrollments) {
  console.error(`${steps} steps of ${5 * enrollments}`)
  process.exit(1)
}
console.log(JSON.stringify({ enrollments, seconds, under_way: underWay,
  step_transitions_per_s: 5 * enrollments / seconds, durability }))
process.exit(0)
